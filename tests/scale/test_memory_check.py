"""Stages ask the planner before a weight is loaded: what does not fit is refused with what would, all else runs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from forked import forked
from launch import BIN, deepspeed, flags, free_port, python, run
from peft import LoraConfig
from stage_models import model_of_stage, reward_model
from tiny import gptj_config, make_tokenizer
from transformers import GPTJConfig, LlamaConfig

from summarize_rlhf import UserError
from summarize_rlhf.lm import memory_check
from summarize_rlhf.lm.memory_check import GB, explain, most_needed, refusal
from summarize_rlhf.lm.speed import CACHE_TOKENS
from summarize_rlhf.plan import measuring, setups
from summarize_rlhf.plan.__main__ import PlanArguments, setup_of
from summarize_rlhf.versions import ROOT

REFUSED = r"this run does not fit into memory: it needs (\d+)\.\d GB of main memory, which has \d+\.\d GB; nothing that"
SCRIPTS = {stage: Path(script) for stage, script in setups.SCRIPTS.items()}
ONE = SimpleNamespace(device=torch.device("cpu"), num_processes=1)  # of a PartialState


@pytest.fixture(scope="module")
def huge(tmp_path_factory) -> Path:
    """A GPT-J of 6.5 billion weights in two layers, of which there are no weights."""
    folder, tokenizer = tmp_path_factory.mktemp("huge"), make_tokenizer()
    config = gptj_config(len(tokenizer), width=16384, positions=1024)
    config.architectures = ["GPTJForCausalLM"]
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- the stages, by their launchers


@pytest.mark.parametrize("stage", ["sft", "rm"])
def test_a_model_too_large_is_refused_before_its_weights_are_missed(
    stage, huge, tldr_dir, comparisons_dir, tmp_path, root, monkeypatch
) -> None:
    monkeypatch.setenv(memory_check.PRETENDED, "30")
    data = tldr_dir if stage == "sft" else comparisons_dir
    values = {"model": huge, "dataset": data, "output_dir": tmp_path / "out", "report_to": "none", "max_length": 100}
    done = deepspeed(root / SCRIPTS[stage], flags(values), tmp_path)
    assert done.returncode == 2
    assert "holds no whole model" not in done.stderr
    needed = float(re.search(REFUSED, done.stderr)[1])
    # fp32 weights; of those that train (all, or one block of two) a master, two moments, and gradients twice, since
    # they are accumulated; a bucket of 5e8 numbers
    trained = 6.455 if stage == "sft" else 3.222
    assert needed == pytest.approx(4 * 6.455 + 5 * 4 * trained + 4 * 0.5, rel=0.15)


@pytest.mark.parametrize("stage", ["sft", "rm"])
def test_an_adapter_needs_little_beside_the_weights(
    stage, huge, tldr_dir, comparisons_dir, tmp_path, root, monkeypatch
) -> None:
    """In fp32: the weights, which fit into 30 GB and not into 20."""
    data = tldr_dir if stage == "sft" else comparisons_dir
    values = {"model": huge, "dataset": data, "output_dir": tmp_path / "out", "report_to": "none", "max_length": 100}
    values |= {"lora_r": 8}
    monkeypatch.setenv(memory_check.PRETENDED, "20")
    done = deepspeed(root / SCRIPTS[stage], flags(values), tmp_path)
    assert int(re.search(REFUSED, done.stderr)[1]) == pytest.approx(4 * 6.455, rel=0.1)
    monkeypatch.setenv(memory_check.PRETENDED, "40")
    done = deepspeed(root / SCRIPTS[stage], flags(values), tmp_path)
    assert "does not fit" not in done.stderr
    assert "holds no whole model" in done.stderr


def test_ppo_is_refused_too_and_runs_where_no_plan_is_wanted(huge, tldr_dir, tmp_path, root, monkeypatch) -> None:
    monkeypatch.setenv(memory_check.PRETENDED, "30")
    judge = reward_model(tmp_path / "rm", model_of_stage(tmp_path / "sft", "sft", 0))
    values = {
        "model.model_path": str(huge), "task.reward_model": str(judge), "task.dataset": str(tldr_dir),
        "train.checkpoint_dir": str(tmp_path / "out"), "train.tracker": None, "train.seq_length": 120,
        "method.gen_kwargs.max_new_tokens": 12, "model.num_layers_unfrozen": 1,
    }  # fmt: skip
    command = [BIN / "accelerate", "launch", "--config_file", root / "configs/default_accelerate_config.yaml"]
    command += ["--main_process_port", free_port(), root / SCRIPTS["ppo"]]
    done = run([*command, json.dumps(values)], root)
    assert done.returncode != 0
    assert re.search(REFUSED, done.stderr)
    done = run([*command, json.dumps(values | {"task.plan": False})], root)
    assert "does not fit" not in done.stderr
    assert "holds no whole model" in done.stderr


# --- what is asked and what is said


@pytest.fixture
def refused(monkeypatch) -> Callable[..., str | None]:
    """What `refusal` says of SFT where there are some GB."""

    def ask(model: Path, memory: str, zero_stage: int = 2, **asked) -> str | None:
        monkeypatch.setenv(memory_check.PRETENDED, memory)
        asked = {"stage": "sft", "batch": 2, "max_length": 40, "precision": "fp32", "offload": False} | asked
        return refusal(str(model), 80, 0, zero_stage, asked, ONE)

    return ask


def test_a_small_model_is_not_planned(refused, gptj_dir, capsys, monkeypatch) -> None:
    monkeypatch.setattr(memory_check, "ask_planner", None)  # not to be called
    assert refused(gptj_dir, "1") is None
    assert capsys.readouterr().out == ""


def test_what_fits_after_all_runs(refused, huge, capsys) -> None:
    assert refused(huge, "400") is None  # less than `SPARE` asks for, more than is needed
    assert capsys.readouterr().out == f"planning the memory of this run ({huge}) …\n"


def test_what_cannot_be_planned_runs(refused, huge, tmp_path, capsys) -> None:
    (tmp_path / "zero0.json").write_text('{"zero_optimization": {"stage": 0}, "gradient_accumulation_steps": 1}')
    assert refused(huge, "1", deepspeed_config=tmp_path / "zero0.json") is None
    assert "memory is not known (the planner knows ZeRO-1, 2 and 3)" in capsys.readouterr().out
    assert refused(huge, "1", zero_stage=0) is None
    assert "memory is not known (the planner knows ZeRO-1, 2 and 3, not 0)" in capsys.readouterr().out
    file = ROOT / "configs/deepspeed/zero3_offload.json"
    with pytest.raises(UserError, match="the planner knows no offload_param"):
        measuring.deepspeed_of(setup_of(PlanArguments(deepspeed_config=str(file)), "sft", "1x24"))
    (tmp_path / "config.json").write_text('{"model_type": "no such family"}')
    assert refused(tmp_path, "1") is None
    assert "note: whether this run fits into memory is not known (" in capsys.readouterr().out


def plan(need: float, gpus: int = 1, size: float | None = 80, **changed) -> dict:
    there = 64 if size is None else size
    needs = {"main memory" if size is None else "each GPU": (need * GB, there * GB)}
    return {
        "gpus": gpus,
        "size": size,
        "needs": needs,
        "flags": {"batch": 16, "gradient_checkpointing": False} | changed,
    }


def test_what_is_said(capsys) -> None:
    assert explain(plan(80)) is None
    assert capsys.readouterr().out == ""
    assert explain(plan(87)) is None  # within the plans' tolerance
    assert "note: this run may just not fit: it needs 87.0 GB of each GPU, which has 80.0 GB" in capsys.readouterr().out
    assert "it needs 89.0 GB of each GPU, which has 80.0 GB; nothing that was tried would fit" in explain(plan(89))
    better = plan(70, batch=8)
    assert "; the nearest that would fit: batch 8. " in explain(plan(89), better)
    better = plan(70, gpus=2, gradient_checkpointing=True)
    assert "; the nearest that would fit: 2 GPU(s) of 80 GB, gradient_checkpointing True. " in explain(plan(89), better)
    told = explain(plan(99, gpus=2, size=None), plan(50, gpus=1, size=None))
    assert "of main memory, which has 64.0 GB; the nearest that would fit: 1 process(es). " in told


# --- the bound below which nothing is planned


def needed(config, checkpointing: bool) -> dict[str, float]:
    """The bytes that the stages need without a GPU, by the planner, at rows of 120 tokens."""
    measuring.prepare()
    measure, found = measuring.Measured(config), {}
    for stage in setups.STAGES:
        args = PlanArguments(max_length=120, batch=4, gradient_checkpointing=checkpointing)
        found[stage] = measure(setup_of(args, stage, "1xcpu")).host.bytes
    return found


@pytest.mark.parametrize(
    "config",
    [
        GPTJConfig(n_embd=128, n_layer=2, n_head=4, rotary_dim=8, vocab_size=5000),
        LlamaConfig(
            hidden_size=128, intermediate_size=400, num_hidden_layers=2, num_attention_heads=4, vocab_size=5000
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_every_stage_stays_under_the_bound(config) -> None:
    found = forked(needed, config, False)
    for stage, tokens in {"sft": 4 * 120, "rm": 2 * 4 * 120, "ppo": 16 * 120}.items():
        kept = 128 * 120 if stage == "ppo" else 0
        assert found[stage] < most_needed(config, tokens + CACHE_TOKENS, kept), stage


def test_without_a_launcher_too(huge, tldr_dir, tmp_path, root, monkeypatch) -> None:
    monkeypatch.setenv(memory_check.PRETENDED, "30")
    values = {"model": huge, "dataset": tldr_dir, "output_dir": tmp_path / "out", "report_to": "none", "plan": False}
    done = python(root / SCRIPTS["sft"], flags(values), tmp_path)
    assert (done.returncode, "does not fit" in done.stderr) == (2, False)
    assert "holds no whole model" in done.stderr


def test_of_adapters_on_each_other_the_model_below_is_planned(monkeypatch, tmp_path) -> None:
    base = tmp_path / "base"
    gptj_config(400).save_pretrained(base)
    for name, below in (("lower", base), ("upper", tmp_path / "lower")):
        LoraConfig(base_model_name_or_path=str(below)).save_pretrained(tmp_path / name)
    asked = {}

    def ask(given: dict) -> None:
        asked.update(given)
        raise RuntimeError("asked")

    monkeypatch.setattr(memory_check, "ask_planner", ask)
    monkeypatch.setenv(memory_check.PRETENDED, "0.000001")
    refusal(str(tmp_path / "upper"), 100, 100, 2, {}, ONE)
    assert asked["model"] == str(base)
