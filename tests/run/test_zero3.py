"""Stages 1 and 2 under a user's ZeRO-3 file: the model that is written is the one that ZeRO-2 writes."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from forkserver import DOCUMENTED, ForkServer
from launch import flags
from launched_ppo import run
from logged import metrics
from safetensors.torch import load_file, save_file
from tiny import gpt2_config, make_comparisons, make_model_dir, make_tldr, make_tokenizer
from zero_files import ZERO, zero_file

from reward_model.reward_model import RewardModel
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.run.run_directory import MARKER

SECTIONS = {"2": ZERO["2"], "3": ZERO["3"]}
SECTIONS |= {"3 gathering": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}}
COMMON = {
    "max_length": 120,
    "num_train_epochs": 2,
    "global_batch_size": 4,
    "learning_rate": 1e-3,
    "adam_epsilon": 1e-3,
    "warmup_steps": 2,
    "eval_steps": 3,
    "save_steps": 2,
    "logging_steps": 1,
    "report_to": "none",
    "seed": 5,
}
OWN = {
    "sft": {"per_device_train_batch_size": 2, "rouge_rows": 3, "max_new_tokens": 6},  # of 3, a process has one
    "rm": {"per_device_train_batch_size": 1, "trainable_fraction": 0.5},  # frozen blocks run once, before the engine is
}


class Run(NamedTuple):
    """What a launch was given and has left."""

    out: Path
    arguments: list[str]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    """11 rows: the last step of an epoch has 3."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, section in SECTIONS.items():
        zero_file(folder / f"{name}.json", section)
    return {
        "gptj": make_model_dir(folder / "gptj"),
        "gpt2": make_model_dir(folder / "gpt2", gpt2_config(len(make_tokenizer()))),
        "sft": make_tldr(folder / "tldr", train=11, valid=5, test=1),
        "rm": make_comparisons(folder / "pairs", train=11, test=5),
        "zero": folder,
    }


def launch(server: ForkServer, inputs: dict, folder: Path, stage: str, zero: str, processes: int, model: str) -> Run:
    values = COMMON | OWN[stage] | {"model": inputs[model], "dataset": inputs[stage], "output_dir": folder / "out"}
    arguments = flags(values | {"deepspeed_config": inputs["zero"] / f"{zero}.json"})
    ended = server.run(stage, arguments, folder, processes)
    assert ended.code == 0, ended.err[-3000:]
    return Run(folder / "out", arguments)


@pytest.fixture(scope="module")
def under_zero_2(server, inputs, tmp_path_factory):
    """`under_zero_2(stage, model)`, each once."""
    made: dict[tuple[str, str], Run] = {}

    def run(stage: str, model: str) -> Run:
        if (stage, model) not in made:
            made[stage, model] = launch(server, inputs, tmp_path_factory.mktemp("zero2"), stage, "2", 1, model)
        return made[stage, model]

    return run


@pytest.mark.parametrize(
    ("stage", "zero", "processes", "model"),
    [
        ("sft", "3", 1, "gptj"),
        ("sft", "3 gathering", 2, "gptj"),
        ("sft", "3", 2, "gpt2"),  # whose two embeddings are one tensor
        ("rm", "3 gathering", 1, "gptj"),
        ("rm", "3", 2, "gptj"),
    ],
)
def test_weights_metrics_and_samples_are_those_of_zero_2(
    server, inputs, under_zero_2, tmp_path, stage, zero, processes, model
):
    expected = under_zero_2(stage, model)
    found = launch(server, inputs, tmp_path, stage, zero, processes, model)
    ours, theirs = (load_file(run.out / "model.safetensors") for run in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    for our, their in zip(metrics(found.out), metrics(expected.out), strict=True):
        assert our == pytest.approx(their, rel=1e-4, abs=1e-6)
    if stage == "sft":
        load_causal_lm(found.out)
        assert (found.out / "samples.jsonl").read_text() == (expected.out / "samples.jsonl").read_text()
    else:
        RewardModel.from_pretrained(found.out)
    assert not list(Path(f"{found.out}-steps").glob("checkpoint-*"))


def test_ppo_with_two_trained_blocks_on_two_processes_is_that_of_one(server, inputs, tmp_path):
    """The last block gets gradients to hand on to the one below it."""
    overrides = {"model.num_layers_unfrozen": 2, "train.max_grad_norm": 0.5, "train.save_optimizer": True}
    overrides |= {"optimizer.kwargs.eps": 1e-3, "optimizer.kwargs.lr": 1e-3, "scheduler.kwargs.eta_min": 1e-3}
    alone, out = tmp_path / "alone", tmp_path / "out"
    run(str(inputs["gptj"]), str(alone), overrides | {"train.batch_size": 8})
    values = {"model": str(inputs["gptj"]), "out": str(out), "overrides": overrides | {"train.batch_size": 4}}
    (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": ZERO["3"]}))
    environment = DOCUMENTED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(tmp_path / "ds.json")}
    ended = server.run("trlx", [json.dumps(values)], tmp_path, 2, **environment)
    assert ended.code == 0, ended.err[-3000:]
    (ours, theirs) = (next(folder.glob("checkpoint_*/hf_model/model.safetensors")) for folder in (out, alone))
    torch.testing.assert_close(load_file(ours), load_file(theirs), rtol=0, atol=1e-5)


# --- what cannot be read never counts as finished


def test_a_directory_of_empty_tensors_does_not_count_as_finished(server, under_zero_2, tmp_path):
    """What earlier versions wrote under ZeRO-3. Step checkpoints stay."""
    run = under_zero_2("sft", "gptj")
    out = tmp_path / "out"
    shutil.copytree(run.out, out)
    state = load_file(out / "model.safetensors")
    save_file({name: torch.empty(0) for name in state}, out / "model.safetensors", metadata={"format": "pt"})
    kept = tmp_path / "out-steps" / "checkpoint-4"
    kept.mkdir(parents=True)
    (kept.parent / MARKER).touch()
    ended = server.run("sft", [*run.arguments, "--output_dir", out], tmp_path, 1)
    assert ended.code != 0
    assert "finished before" not in ended.out
    assert f"error: {out} says that it is finished, but the next stage cannot read it: the weights in" in ended.err
    assert "of another shape" in ended.err
    assert f"goes on from the checkpoints in {kept.parent}" in ended.err
    assert kept.is_dir()


def test_a_model_of_infinities_is_not_written_and_the_step_checkpoints_stay(server, inputs, tmp_path):
    """A learning rate beyond fp32 spoils the one step, after its loss was finite."""
    values = COMMON | OWN["sft"] | {"model": inputs["gptj"], "dataset": inputs["sft"], "output_dir": tmp_path / "out"}
    values |= {"deepspeed_config": inputs["zero"] / "3.json", "learning_rate": 1e39, "warmup_steps": 0}
    values |= {"max_steps": 1, "save_steps": 1, "rouge_rows": 0}
    ended = server.run("sft", flags(values), tmp_path, 1)
    assert ended.code != 0
    assert f"error: {tmp_path / 'out'} was not written, because the next stage could not read it" in ended.err
    assert "not finite" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["out-steps"]
    assert (tmp_path / "out-steps" / "checkpoint-1").is_dir()
