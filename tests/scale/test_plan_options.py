"""Plans of runs with LoRA, in fp16 and under ZeRO-3; and the memory that plans are compared with."""

import contextlib
import json
import mmap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked import forked, run_main
from planned import SETUP, VALUE_HEAD, WEIGHTS, measured
from tiny import gptj_config
from transformers import AutoModelForCausalLM

from benchmarks import plan_peaks
from benchmarks.anonymous_memory import anonymous
from reward_model import train_reward_model_gptj
from summarize_rlhf import UserError
from summarize_rlhf.plan import measuring, setups
from summarize_rlhf.versions import ROOT

HEAD = {"sft": 0, "rm": 64, "ppo": VALUE_HEAD}  # beside the adapter


@pytest.mark.parametrize("stage", setups.STAGES)
def test_of_an_adapter_little_is_trained(stage: str) -> None:
    """Two matrices of rank 2 at queries and values: of each block, of the reward model's trained one alone."""
    adapter = 2 * 2 * (64 + 64) * (1 if stage == "rm" else 4)
    setup = replace(SETUP, stage=stage, tokens=120, lora_r=2, merge_adapter=True)
    here, away = forked(measured, [replace(setup, offload=False), setup])
    weights = 4 * WEIGHTS if stage == "sft" else 4 * (WEIGHTS - 400 * 65)  # without the language model's head
    if stage == "ppo":
        assert here["gpu"]["weights"] == pytest.approx(2 * (WEIGHTS + adapter + VALUE_HEAD), abs=64)
        assert here["gpu"]["optimizer"] == pytest.approx(12 * (adapter + VALUE_HEAD), abs=64)
    else:
        assert here["gpu"]["weights"] == pytest.approx(weights / 2 + 2 * (adapter + HEAD[stage]), abs=64)
        assert away["host"]["weights as written"] == pytest.approx(weights + 2 * (adapter + HEAD[stage]), rel=0.03)
        assert away["host"]["optimizer"] < 20 * (adapter + HEAD[stage])


def test_frozen_blocks_run_beforehand_only_where_their_outputs_are_kept() -> None:
    """Then over some 150 pairs at a time. With dropout, but for an adapter's, they are not kept."""
    setup = replace(SETUP, stage="rm", tokens=120, lora_r=2)
    kept, without, adapters = forked(
        measured, [setup, replace(setup, keeps_trunk=False), replace(setup, lora_dropout=0.1)]
    )
    (dropout,) = forked(measured, [setup], 4, 0.1)
    for found in (kept, adapters):
        assert "gradients" not in found["gpu"]  # the peak comes before training
    for found in (without, dropout):
        assert found["gpu"]["activations"] < 0.2 * kept["gpu"]["activations"]


def asked_of(rows: int, values: dict) -> dict:
    """What the reward model's stage asks the planner, with `rows` pairs to train on."""
    asked = {}

    def ask(*_, **given) -> None:
        asked.update(given)
        raise UserError("asked")

    train_reward_model_gptj.check_memory = ask
    with contextlib.suppress(SystemExit):
        run_main(train_reward_model_gptj.main, values | {"max_train_rows": rows})
    return asked


def test_the_stage_says_whether_it_keeps_the_frozen_blocks_outputs(gptj_dir, comparisons_dir, tmp_path) -> None:
    """In one pass over the pairs nobody would read them again."""
    values = {"model": gptj_dir, "dataset": comparisons_dir, "output_dir": tmp_path / "out", "report_to": "none"}
    values |= {"max_steps": 1, "global_batch_size": 2, "max_length": 100}
    assert forked(asked_of, 1, values)["trunk_cache_gb"] == 64
    assert forked(asked_of, 2, values)["trunk_cache_gb"] == 0
    assert forked(asked_of, 1, values | {"trunk_cache_gb": 0})["trunk_cache_gb"] == 0


def test_in_fp16_gradients_add_up_in_fp16() -> None:
    here, away = forked(measured, [replace(SETUP, precision="fp16", offload=offload) for offload in (False, True)])
    assert here["gpu"]["weights"] == 2 * WEIGHTS
    assert here["gpu"]["gradients"] == pytest.approx(2 * WEIGHTS, abs=1024)  # and norms, counts, the loss's scale
    assert here["gpu"]["optimizer"] == pytest.approx(12 * WEIGHTS, rel=0.01)
    assert away["host"]["optimizer"] >= 12 * WEIGHTS


ZERO_3 = str(ROOT / "configs/deepspeed/zero3.json")


@pytest.mark.parametrize("stage", setups.STAGES)
def test_under_zero_3_weights_are_shared_out(stage: str) -> None:
    """Of four processes each holds a quarter of weights, fp32 copies and moments, and all weights while it writes."""
    setup = replace(SETUP, stage=stage, tokens=120, offload=False, gpus=4, file=ZERO_3, trainable_fraction=1.0)
    (found,) = forked(measured, [setup], 16)
    head = VALUE_HEAD if stage == "ppo" else 0
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(gptj_config(400, layers=16, width=64))
    weights = sum(p.numel() for p in model.parameters()) - (400 * 65 if stage == "rm" else 0)
    assert found["gpu"]["weights"] == pytest.approx(2 * (weights + head) / 4, rel=0.02)
    if stage == "ppo":  # the model that scores is spread, too, but for its head and the tables of rotary positions
        assert found["gpu"]["reward model"] == 2 * (weights - 400 * 65) / 4 + 4 * 64 + 16 * 512


def test_measured_is_what_is_planned(tmp_path) -> None:
    """The launch of a case of benchmarks/plan_peaks.py, and its setup."""
    cases = {case.name: case for case in plan_peaks.CASES}
    for stage in ("sft", "rm"):
        case = cases[f"gptj/{stage}/lora"]
        words, setup = plan_peaks.launch(case, tmp_path), plan_peaks.setup_of(case, tmp_path)
        for name in ("lora_r", "lora_dropout"):
            assert float(words[words.index(f"--{name}") + 1]) == getattr(setup, name) > 0
    case = cases["gptj/ppo/lora"]
    settings = measuring.ppo_settings(plan_peaks.setup_of(case, tmp_path))
    given = json.loads(plan_peaks.launch(case, tmp_path)[-1])
    assert given["model.peft_config"] == settings.model.peft_config
    assert "model.peft_config" not in json.loads(plan_peaks.launch(cases["gptj/ppo"], tmp_path)[-1])
    words = plan_peaks.launch(cases["gptj/ppo/zero3"], tmp_path)
    setup = plan_peaks.setup_of(cases["gptj/ppo/zero3"], tmp_path)
    file = Path(words[words.index("--config_file") + 1])
    assert f"deepspeed_config_file: {setup.file}\n" in file.read_text(encoding="utf-8")
    assert int(words[words.index("--num_processes") + 1]) == setup.processes == 2


def test_memory_of_a_mapped_file_is_not_the_processs_own(tmp_path) -> None:
    size = 50_000_000
    (tmp_path / "file").write_bytes(bytes(size))
    before = anonymous()
    with open(tmp_path / "file", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[::4096]) == 0  # each page is there now
        assert anonymous() - before < size / 2
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:  # new pages, whatever is free
        held[:] = bytes([1]) * size
        assert anonymous() - before > size / 2
