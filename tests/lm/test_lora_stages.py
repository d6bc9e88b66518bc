"""LoRA in stages 1 and 2: what is written, how it is read, one adapter on top of another, under ZeRO-2 and -3."""

import json
from pathlib import Path

import pytest
import torch
from launch import flags
from logged import metrics
from lora_runs import COMMON, IDS, LORA, OWN, train
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from tiny import gpt2_config, make_comparisons, make_model_dir, make_tldr, make_tokenizer
from tiny_trlx import tiny_config, tiny_trainer
from zero_files import ZERO, zero_file

from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from summarize_rlhf import UserError
from summarize_rlhf.handover import check_handover, read_run
from summarize_rlhf.lm.lora import HEAD
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.tokenizer import load_tokenizer
from trlx.merge import merge

ADAPTER = {"README.md", "adapter_config.json", "adapter_model.safetensors", "metrics.jsonl", "run.json"}
CARD = {"card.json", "card.md", "card.png"}
ADAPTER |= {"tokenizer.json", "tokenizer_config.json"}
EXACT = {"rtol": 1e-5, "atol": 1e-6}  # merged weights are rounded once more than base and adapter apart


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    for stage in ("2", "3"):
        zero_file(folder / f"zero{stage}.json", ZERO[stage])
    return {
        "gptj": make_model_dir(folder / "gptj"),
        "gpt2": make_model_dir(folder / "gpt2", gpt2_config(len(make_tokenizer()))),
        "sft": make_tldr(folder / "tldr", train=11, valid=5, test=3),
        "rm": make_comparisons(folder / "pairs", train=11, test=5),
        "folder": folder,
    }


@pytest.fixture(scope="module")
def chain(server, inputs, tmp_path_factory) -> dict[str, Path]:
    """Stage 1 on GPT-J, and stage 2 on stage 1's adapter, both with adapters."""
    folder = tmp_path_factory.mktemp("chain")
    zero = {"deepspeed_config": inputs["folder"] / "zero2.json"}
    sft = train(server, "sft", inputs["gptj"], inputs["sft"], folder / "sft", **zero)
    return {"sft": sft, "rm": train(server, "rm", sft, inputs["rm"], folder / "rm", **zero)}


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def values(path: Path) -> torch.Tensor:
    with torch.no_grad():
        return RewardModel.from_pretrained(path).eval()(IDS)


def test_sft_writes_an_adapter_that_names_its_base(chain, inputs) -> None:
    out = chain["sft"]
    assert {path.name for path in out.iterdir()} == ADAPTER | {"samples.jsonl"}
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == str(inputs["gptj"])
    weights = load_file(out / "adapter_model.safetensors")
    assert all("lora_" in name for name in weights)
    assert all(x.abs().max() > 1e-4 for x in weights.values()), "B starts at zero: nothing was trained"
    assert check_handover(out, expects_stage="sft", tokenizer=load_tokenizer(out))["base_sha256"]
    losses = [row["eval_loss"] for row in metrics(out) if "eval_loss" in row]
    assert losses[-1] < losses[0]


def test_base_and_adapter_compute_what_the_merged_weights_compute(chain, inputs, tmp_path) -> None:
    together = logits(AutoPeftModelForCausalLM.from_pretrained(chain["sft"]))
    assert (together - logits(load_causal_lm(inputs["gptj"]))).abs().max() > 1e-3
    torch.testing.assert_close(logits(load_causal_lm(chain["sft"])), together, **EXACT)
    merge(chain["sft"], tmp_path / "merged")
    torch.testing.assert_close(logits(load_causal_lm(tmp_path / "merged")), together, **EXACT)
    check_handover(tmp_path / "merged", expects_stage="sft", tokenizer=load_tokenizer(tmp_path / "merged"))
    assert "base_sha256" not in read_run(tmp_path / "merged"), "it has no base any more"
    assert "This is a LoRA adapter" not in (tmp_path / "merged/README.md").read_text(encoding="utf-8")


def test_the_reward_model_keeps_its_head_beside_the_adapter(chain, tmp_path) -> None:
    out = chain["rm"]
    assert {path.name for path in out.iterdir()} == ADAPTER | CARD | {HEAD}
    base = json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(chain["sft"]), "an adapter on top of stage 1's"
    head = load_file(out / HEAD)["v_head.weight"]
    found = RewardModel.from_pretrained(out)
    assert torch.equal(found.v_head.weight, head)
    assert not any("lora" in name for name in found.state_dict())
    merge(out, tmp_path / "merged")
    assert torch.equal(values(tmp_path / "merged"), values(out))
    posts, texts = ["POST: my cat moved", "POST: so"], ["TL;DR: found money", "TL;DR: never"]
    scores = [Scorer.from_pretrained(path).score(posts, texts) for path in (out, tmp_path / "merged")]
    assert torch.equal(*scores)
    assert Scorer.from_pretrained(out).max_length == 120


def test_the_values_are_those_of_training(chain, inputs, server, tmp_path) -> None:
    """The reward test, another script, finds the margin of the last evaluation."""
    arguments = ["--reward_model", chain["rm"], "--dataset", inputs["rm"], "--output_dir", tmp_path / "test"]
    ended = server.run("reward_test", arguments, tmp_path)
    assert ended.code == 0, ended.err[-3000:]
    found = json.loads((tmp_path / "test/reward_test.json").read_text())
    last = [row for row in metrics(chain["rm"]) if "eval_margin" in row][-1]
    assert found["margin"] == pytest.approx(last["eval_margin"], abs=1e-5)
    assert found["accuracy"] == last["eval_accuracy"]


def test_an_adapter_without_its_head_is_no_reward_model(chain) -> None:
    with pytest.raises(UserError, match=f"holds an adapter, but no {HEAD} beside it"):
        RewardModel.from_pretrained(chain["sft"])


def test_stage_3_goes_on_from_the_adapters(chain, tmp_path) -> None:
    """The policy starts as stage 1's adapter, its value as stage 2's; its reference is its adapter switched off."""
    peft_config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj", "v_proj"]}
    options = {"model.peft_config": peft_config, "train.epochs": 1, "method.value_model": str(chain["rm"])}
    trainer = tiny_trainer(tiny_config(chain["sft"], tmp_path / "out", **options))
    start = logits(load_causal_lm(chain["sft"]))
    assert torch.equal(logits(trainer.policy.model), start)
    trainer.learn()
    trainer.save_pretrained()
    assert (logits(trainer.policy.model) - start).abs().max() > 1e-4
    with trainer.policy.model.disable_adapter():
        assert torch.equal(logits(trainer.policy.model), start)
    written = tmp_path / "out/hf_model"
    assert json.loads((written / "adapter_config.json").read_text())["base_model_name_or_path"] == str(chain["sft"])
    torch.testing.assert_close(logits(load_causal_lm(written)), logits(trainer.policy.model), **EXACT)


def test_the_same_command_says_that_it_was_finished(server, chain, inputs) -> None:
    zero = {"deepspeed_config": inputs["folder"] / "zero2.json"}
    for stage, model, out in (("sft", inputs["gptj"], chain["sft"]), ("rm", chain["sft"], chain["rm"])):
        before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
        train(server, stage, model, inputs[stage], out, **zero)
        assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    values = COMMON | OWN["sft"] | LORA | zero | {"model": inputs["gptj"], "dataset": inputs["sft"]}
    values |= {"output_dir": chain["sft"], "merge_adapter": True}
    ended = server.run("sft", flags(values), inputs["folder"])
    assert "merge_adapter was false, is true" in ended.error, "what is asked for is not written, so it is refused"


@pytest.mark.parametrize(("stage", "processes"), [("sft", 2), ("rm", 2)])
def test_merged_on_request_and_under_zero_3_the_same(server, inputs, chain, tmp_path, stage, processes) -> None:
    """Two processes under ZeRO-3 train the adapter of one under ZeRO-2; the merged directory is a whole model."""
    model = inputs["gptj"] if stage == "sft" else chain["sft"]
    options = {"deepspeed_config": inputs["folder"] / "zero3.json", "per_device_train_batch_size": 1}
    out = train(server, stage, model, inputs[stage], tmp_path / "out", processes, merge_adapter=True, **options)
    assert not (out / "adapter_config.json").exists()
    for ours, theirs in zip(metrics(out), metrics(chain[stage]), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    if stage == "sft":
        torch.testing.assert_close(logits(load_causal_lm(out)), logits(load_causal_lm(chain["sft"])), **EXACT)
    else:
        torch.testing.assert_close(values(out), values(chain["rm"]), **EXACT)


@pytest.mark.parametrize("stage", ["sft", "rm"])
def test_under_zero_3_the_adapter_is_written_whole(server, inputs, chain, tmp_path, stage) -> None:
    model = inputs["gptj"] if stage == "sft" else chain["sft"]
    options = {"deepspeed_config": inputs["folder"] / "zero3.json", "gradient_checkpointing": True}
    out = train(server, stage, model, inputs[stage], tmp_path / "out", 1, **options)
    names = ["adapter_model.safetensors", *([HEAD] if stage == "rm" else [])]
    for name in names:
        torch.testing.assert_close(load_file(out / name), load_file(chain[stage] / name), rtol=1e-5, atol=1e-6)


def test_transposed_layers_and_layers_by_name(server, inputs, tmp_path) -> None:
    """GPT-2's, in the trained top of a reward model alone."""
    options = {"lora_target_modules": "c_attn,mlp.c_fc", "trainable_fraction": 0.5, "lora_dropout": 0.1}
    out = train(server, "rm", inputs["gpt2"], inputs["rm"], tmp_path / "out", **options)
    names = {name.split(".lora_")[0] for name in load_file(out / "adapter_model.safetensors")}
    assert names == {f"base_model.model.h.1.{layer}" for layer in ("attn.c_attn", "mlp.c_fc")}
    assert values(out).isfinite().all()


def test_layers_that_are_not_there_are_told(server, inputs, tmp_path) -> None:
    values = {"model": inputs["gpt2"], "dataset": inputs["rm"], "output_dir": tmp_path / "out", "max_length": 120}
    values |= LORA | {"lora_target_modules": "q_proj", "report_to": "none"}
    for stage, told in (
        ("rm", "no linear layer in the trained blocks is called"),
        ("sft", "Target modules"),
    ):
        ended = server.run(stage, flags(values | {"dataset": inputs[stage]}), tmp_path)
        assert ended.code == 2
        assert told in ended.error
        assert "--lora_target_modules" in ended.error
