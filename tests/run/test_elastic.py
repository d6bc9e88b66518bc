"""Stages 1 and 2 go on with another number of processes (`--elastic`), to what the undisturbed run computes.

Not bit-equal, because sums over processes round otherwise; there is no dropout here, which would be drawn anew.
"""

import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from forkserver import ForkServer
from launch import flags
from logged import metrics
from safetensors.torch import load_file
from tiny import make_comparisons, make_model_dir, make_tldr
from zero_files import ZERO, zero_file

from summarize_rlhf import UserError
from summarize_rlhf.run import elastic
from summarize_rlhf.run.checkpoints import checkpoints, find_corruption
from summarize_rlhf.run.elastic import SCRATCH, load_engine
from summarize_rlhf.run.resumable_trainer import ResumableTrainer

# 11 rows make steps of 4 + 4 + 3. Moments, schedule, weight decay and clipping all matter for the next step.
COMMON = {
    "max_length": 120,
    "num_train_epochs": 4,
    "global_batch_size": 4,
    "per_device_train_batch_size": 1,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "linear",
    "adam_epsilon": 1e-3,
    "weight_decay": 0.5,
    "max_grad_norm": 1.0,
    "warmup_steps": 3,
    "eval_steps": 3,
    "save_steps": 2,
    "logging_steps": 3,  # checkpoint 4 has a step's loss that no line has yet
    "report_to": "none",
    "seed": 5,
}
OWN = {"sft": {"rouge_rows": 3, "max_new_tokens": 6}, "rm": {"trainable_fraction": 0.5, "card_pairs": 0}}
STEPS = 12


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    for name, section in ZERO.items():
        zero_file(folder / f"{name}.json", section)
    sft, rm = make_tldr(folder / "tldr", train=11, valid=5), make_comparisons(folder / "pairs", train=11, test=5)
    return {"model": make_model_dir(folder / "model"), "sft": sft, "rm": rm, "zero": folder}


def arguments(inputs: dict, stage: str, zero: str, out: Path, *more: str) -> list[str]:
    values = COMMON | OWN[stage] | {"model": inputs["model"], "dataset": inputs[stage], "output_dir": out}
    return [*flags(values | {"deepspeed_config": inputs["zero"] / f"{zero}.json"}), *more]


@pytest.fixture(scope="module")
def undisturbed(server, inputs, tmp_path_factory):
    """`undisturbed(stage)`: what a run on one process has left, each once."""
    made: dict[str, Path] = {}

    def run(stage: str) -> Path:
        if stage not in made:
            made[stage] = tmp_path_factory.mktemp("whole") / "out"
            ended = server.run(stage, arguments(inputs, stage, "2", made[stage]), made[stage].parent, 1)
            assert ended.code == 0, ended.err[-3000:]
        return made[stage]

    return run


@pytest.fixture(scope="module")
def cut(server, inputs, tmp_path_factory):
    """`cut(stage, zero, processes)`: a folder with the checkpoints of a killed run, each once."""
    made: dict[tuple[str, str, int], Path] = {}

    def run(stage: str, zero: str, processes: int) -> Path:
        if (stage, zero, processes) not in made:
            folder = made[stage, zero, processes] = tmp_path_factory.mktemp("cut")
            process = server.start(stage, arguments(inputs, stage, zero, folder / "out"), folder, processes)
            while not (folder / "out-steps/checkpoint-4").is_dir():
                assert process.poll() is None, (process.folder / "err").read_text()[-3000:]
                time.sleep(0.002)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert not (folder / "out").exists(), "it had ended before the kill"
        return made[stage, zero, processes]

    return run


def resume(server: ForkServer, inputs: dict, stage: str, zero: str, folder: Path, processes: int, *more: str):
    return server.run(stage, arguments(inputs, stage, zero, folder / "out", *more), folder, processes)


def assert_as_undisturbed(out: Path, whole: Path, unlogged: str = "") -> None:
    """The losses, rates, norms and evaluations of all steps, and the last weights: 3 times what was measured, 5e-7."""
    ours, theirs = metrics(out), metrics(whole)
    assert [row["step"] for row in ours if "loss" in row] == [3, 6, 9, STEPS]
    for our, their in zip(ours, theirs, strict=True):
        expected = {name: x for name, x in their.items() if name != unlogged}
        assert our == pytest.approx(expected, rel=1.5e-6, abs=1.5e-6)
    weights = [load_file(folder / "model.safetensors") for folder in (out, whole)]
    torch.testing.assert_close(*weights, rtol=0, atol=1.5e-6)


@pytest.fixture
def goes_on(server, inputs, undisturbed, cut, tmp_path):
    """`goes_on(stage, zero, before, now)`: a run that was cut on some processes goes on with others."""

    def check(stage: str, zero: str, before: int, now: int) -> None:
        shutil.copytree(cut(stage, zero, before), tmp_path, dirs_exist_ok=True)
        newest = checkpoints(tmp_path / "out-steps")[0]
        ended = resume(server, inputs, stage, zero, tmp_path, now, "--elastic")
        assert ended.code == 0, ended.err[-3000:]
        told = f"going on with {now} process(es), {newest} was written by {before}; statistically equal"
        assert told in ended.out
        assert_as_undisturbed(tmp_path / "out", undisturbed(stage), "grad_norm" if zero == "0" else "")
        assert not (tmp_path / "out-steps" / SCRATCH).exists()

    return check


@pytest.mark.parametrize(("stage", "before", "now"), [("sft", 2, 1), ("sft", 1, 2), ("sft", 2, 4), ("rm", 1, 2)])
def test_it_goes_on_as_the_undisturbed_run(goes_on, stage: str, before: int, now: int) -> None:
    goes_on(stage, "2", before, now)


@pytest.mark.parametrize("stage", ["sft", "rm"])  # rm: with frozen blocks
def test_so_it_does_under_zero_3(goes_on, stage: str) -> None:
    goes_on(stage, "3", 2, 1)


def test_so_it_does_without_zero(goes_on) -> None:
    """Every process has all of the optimizer."""
    goes_on("sft", "0", 2, 1)


def test_the_copy_is_gone_once_it_has_been_read(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(elastic, "_convert", lambda source, target: target.mkdir(parents=True))
    with elastic._universal(tmp_path / "tag", tmp_path / SCRATCH) as found:
        assert found.is_dir()
    assert not (tmp_path / SCRATCH).exists()


def test_another_optimizer_than_adam_is_refused_under_zero(tmp_path) -> None:
    """DeepSpeed's converter knows Adam's moments alone."""
    (tmp_path / "latest").write_text("tag")
    (tmp_path / "tag").mkdir()
    (tmp_path / "tag/zero_optim_states.pt").touch()
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(UserError, match="with the optimizer SGD: the number of processes may change with Adam alone"):
        load_engine(SimpleNamespace(optimizer=SimpleNamespace(optimizer=sgd)), tmp_path, tmp_path / SCRATCH)


def test_killed_while_it_reads_it_goes_on_all_the_same(server, inputs, undisturbed, cut, tmp_path) -> None:
    """The universal copy is there for a moment; the checkpoint stays as it was."""
    shutil.copytree(cut("sft", "3", 1), tmp_path, dirs_exist_ok=True)
    newest, scratch = checkpoints(tmp_path / "out-steps")[0], tmp_path / "out-steps" / SCRATCH
    process = server.start("sft", arguments(inputs, "sft", "3", tmp_path / "out", "--elastic"), tmp_path, 2)
    while not scratch.is_dir():
        assert process.poll() is None, (process.folder / "err").read_text()[-3000:]
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert scratch.is_dir()
    assert find_corruption(newest) is None
    ended = resume(server, inputs, "sft", "3", tmp_path, 2, "--elastic")
    assert ended.code == 0, ended.err[-3000:]
    assert f"{newest} was written by 1" in ended.out
    assert_as_undisturbed(tmp_path / "out", undisturbed("sft"))
    assert not scratch.exists()


def test_unasked_it_is_refused_and_the_flag_is_named(server, inputs, cut) -> None:
    ended = resume(server, inputs, "sft", "2", cut("sft", "2", 1), 2)
    assert ended.code == 2
    assert "processes was 1, is 2" in ended.error
    assert "--elastic (PPO: train.elastic) goes on with another number of processes" in ended.error


def test_random_numbers_are_drawn_anew_for_each_step_and_process(tmp_path) -> None:
    """Not those in the checkpoint, which belong to processes that are gone, or to this one's number alone."""
    torch.save({}, tmp_path / "rng_state_0.pth")

    def drawn(seed: int, step: int, rank: int) -> float:
        trainer = ResumableTrainer.__new__(ResumableTrainer)
        trainer.wrote = 2
        trainer.args = SimpleNamespace(seed=seed, process_index=rank, world_size=4)
        trainer.state = SimpleNamespace(global_step=step)
        trainer._load_rng_state(str(tmp_path))
        return torch.rand(1).item()

    several = [(seed, step, rank) for seed in (1, 2) for step in (3, 4) for rank in (0, 1, 2)]
    assert len({drawn(*each) for each in several}) == len(several)
    assert drawn(1, 3, 2) == drawn(1, 3, 2)
