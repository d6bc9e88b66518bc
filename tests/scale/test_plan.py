"""The planner: what the ledger adds up, what follows from a setup, and what is said where it does not fit."""

import json
import re
from dataclasses import replace

import pytest
import torch
from forked import forked
from planned import ON_CPU, SETUP, VALUE_HEAD, WEIGHTS, measured
from torch._subclasses.fake_tensor import FakeTensorMode

from summarize_rlhf import UserError
from summarize_rlhf.lm.footprint import GPU, HOST, Ledger, Peak
from summarize_rlhf.plan import advice, setups
from summarize_rlhf.plan.__main__ import PlanArguments, setup_of
from summarize_rlhf.versions import ROOT

# --- the ledger


def test_the_most_that_is_there_at_once_by_kind() -> None:
    with FakeTensorMode(), Ledger() as ledger:
        with ledger.making("weights"):
            kept = torch.empty(100)  # 400 bytes
        first = torch.empty(1000)
        view = first[10:]  # of the same storage
        del first
        second = torch.empty(500)
        del view
        third = torch.empty(50)
        with ledger.making("optimizer", HOST):
            state = torch.empty(7, dtype=torch.bfloat16)
    assert ledger.peak(GPU) == Peak(400 + 4000 + 2000, {"weights": 400, "activations": 6000})
    assert ledger.peak(HOST) == Peak(14, {"optimizer": 14})
    assert ledger.peak(GPU, HOST).bytes == 400 + 4000 + 2000  # of different moments
    assert (kept.numel(), second.numel(), third.numel(), state.numel()) == (100, 500, 50, 7)


def test_what_stays_gets_another_name_and_what_is_moved_was_there_from_its_birth() -> None:
    with FakeTensorMode(), Ledger() as ledger:
        stays, goes = torch.empty(10), torch.empty(20)
        del goes
        ledger.name_what_stays("activations", "gradients")
        moved = torch.empty(30)
        ledger.move(moved, HOST)
    assert ledger.peak(GPU) == Peak(120, {"gradients": 40, "activations": 80})
    assert ledger.peak(HOST).bytes == 120
    assert stays.numel() == 10


def test_a_number_that_is_asked_for_is_one_and_a_mask_takes_all() -> None:
    with FakeTensorMode(), Ledger():
        x = torch.empty(3, 4)
        assert x.sum().item() == 1.0
        assert bool(x.isfinite().all())
        assert x[x > 0].shape == (12,)


# --- a stage on fake tensors


def test_sft_by_hand() -> None:
    """bf16 weights, masters and two moments in fp32, gradients in fp32; of two GPUs each has half, offloaded none."""
    here = replace(SETUP, offload=False)
    one, two, away = forked(measured, [here, replace(here, gpus=2), replace(SETUP, offload=True)])
    for found in (one, two, away):
        assert found["gpu"]["weights"] == pytest.approx(2 * WEIGHTS, rel=0.01)
        assert found["gpu"]["buckets"] == 2 * WEIGHTS  # not the published 5e8 numbers
    assert one["gpu"]["optimizer"] == pytest.approx(12 * WEIGHTS, rel=0.01)
    assert two["gpu"]["optimizer"] == pytest.approx(6 * WEIGHTS, rel=0.01)
    assert away["gpu"]["optimizer"] == 2 * 400 * 64  # the gradient of the largest weight, on its way
    assert away["host"]["optimizer"] >= 12 * WEIGHTS


def test_without_gpus_all_is_in_main_memory_and_in_fp32() -> None:
    """Weights, masters and two moments; the first step makes the moments, which the second meets."""
    (found,) = forked(measured, [ON_CPU])
    assert found["gpu"] == {}
    assert found["host"]["weights"] == pytest.approx(4 * WEIGHTS, rel=0.01)
    assert found["host"]["optimizer"] == pytest.approx(12 * WEIGHTS, rel=0.01)
    assert found["host"]["buckets"] == 4 * WEIGHTS


@pytest.mark.parametrize("stage", ["rm", "ppo"])
def test_the_other_stages_train_a_part(stage: str) -> None:
    setup = replace(
        SETUP, stage=stage, offload=False, tokens=120, batch=256, checkpointing=False
    )  # training is the peak
    (found,) = forked(measured, [setup])
    if stage == "ppo":
        assert found["gpu"]["weights"] == pytest.approx(2 * (WEIGHTS + VALUE_HEAD), rel=0.01)
    else:
        assert found["gpu"]["weights"] < 2 * WEIGHTS  # without the language model's head
    assert 0 < found["gpu"]["optimizer"] < 14 * WEIGHTS
    assert ("reward model" in found["gpu"]) == (stage == "ppo")


@pytest.mark.parametrize("stage", setups.STAGES)
def test_recomputed_activations_are_not_kept(stage: str) -> None:
    """Of sixteen blocks: the reward model trains five, and of one nothing would be saved.

    The batch is large, so that training is the peak, and not the pass over the frozen blocks or the rollouts.
    """
    kept = replace(SETUP, stage=stage, offload=False, tokens=120, batch=64, checkpointing=False)
    found, less = forked(measured, [kept, replace(kept, checkpointing=True)], 16)
    assert less["gpu"]["activations"] < 0.8 * found["gpu"]["activations"]


# --- the command


def test_what_gpus_may_be() -> None:
    for text in ("24", "0x24", "2x0", "2 x 24", "x", "0xcpu", "cpu"):
        with pytest.raises(UserError, match=r"--gpus is .*number and size in GB are expected, such as 2x24"):
            setup_of(PlanArguments(), "sft", text)
    made = setup_of(PlanArguments(), "ppo", "2x24")
    assert (made.gpus, made.size, made.batch, made.processes) == (2, 24.0, 4, 1)
    assert (made.precision, made.offload) == ("bf16", True)
    assert replace(made, stage="sft").processes == 2
    assert replace(made, gpus=8).processes == 8
    without = setup_of(PlanArguments(), "ppo", "2xcpu")
    assert (without.gpus, without.size, without.processes) == (2, None, 2)
    assert (without.precision, without.offload) == ("fp32", False)
    with pytest.raises(UserError, match="--precision fp16 is for GPUs"):
        setup_of(PlanArguments(precision="fp16"), "sft", "1xcpu")


def fits(setup: setups.Setup, gpu_bytes: float, host_bytes: float, host: float) -> bool:
    return advice.filled(advice.needs(setup, gpu_bytes, host_bytes, host)) <= 1


def test_a_context_and_every_process_count() -> None:
    assert fits(SETUP, 23e9, 0, 1e9)
    assert not fits(SETUP, 23.1e9, 0, 1e9)
    two, libraries = replace(SETUP, gpus=2), 2 * advice.PROCESS
    assert fits(two, 1e9, 4e9, 8e9 + libraries)
    assert not fits(two, 1e9, 4e9, 7.9e9 + libraries)
    assert fits(replace(two, size=None), 1e12, 4e9, 8e9 + libraries)  # no GPU counts


@pytest.mark.parametrize(
    ("gigabytes", "nearest"),
    [
        (lambda s: 15 + 2 * s.batch, (1, 24, 4, True)),  # a smaller batch
        (lambda s: 30 + s.batch, (1, 40, 8, True)),  # a larger GPU
        (lambda s: 200 / s.gpus, (4, 80, 16, True)),  # more of them
        (lambda s: 400, None),
    ],
)
def test_the_nearest_that_fits(gigabytes, nearest) -> None:
    found = advice.nearest(replace(SETUP, batch=16), lambda s: fits(s, gigabytes(s) * 1e9, 0, 1e11))
    assert found is None if nearest is None else (found.gpus, found.size, found.batch, found.checkpointing) == nearest


def test_activations_are_recomputed_only_where_that_is_needed() -> None:
    setup = replace(SETUP, stage="ppo", batch=4, checkpointing=False)
    found = advice.nearest(setup, lambda s: s.checkpointing and s.batch <= 2)
    assert (found.batch, found.checkpointing, found.size) == (2, True, 24)
    assert advice.nearest(setup, lambda s: s.batch <= 2).checkpointing is False


def test_without_gpus_fewer_processes() -> None:
    found = advice.nearest(replace(ON_CPU, gpus=8), lambda s: s.gpus <= 2 and s.batch == 1)
    assert (found.gpus, found.size, found.batch) == (2, None, 1)
    assert advice.nearest(ON_CPU, lambda s: False) is None


def test_the_command_starts_what_was_planned() -> None:
    assert setups.command("m", replace(SETUP, gpus=2)) == (
        "deepspeed --num_gpus 2 sft/train_gptj_summarize.py --model m --per_device_train_batch_size 2 --max_length 40 "
        "--precision bf16 --gradient_checkpointing True"
    )
    assert setups.command("m", replace(SETUP, stage="rm", offload=False)).endswith(
        "--precision bf16 --gradient_checkpointing True --deepspeed_config configs/deepspeed/zero2.json"
    )
    without = setup_of(PlanArguments(trunk_cache_gb=0), "rm", "1x24")
    assert setups.command("m", without).endswith(" --trunk_cache_gb 0")
    assert "trunk" not in setups.command("m", replace(without, stage="sft"))
    for stage, file in setups.WITHOUT_OFFLOAD.items():
        content = (ROOT / file).read_text(encoding="utf-8")
        if stage == "ppo":
            content = (ROOT / re.search(r"deepspeed_config_file: (.+)", content)[1]).read_text(encoding="utf-8")
        assert "offload" not in content
    lora = {"lora_r": 8, "lora_target_modules": "q_proj, v_proj"}
    assert setups.command("m", replace(SETUP, **lora)).endswith("--lora_r 8 --lora_target_modules q_proj,v_proj")
    told = setups.command("m", replace(SETUP, stage="ppo", **lora))
    adapter = {"peft_type": "LORA", "r": 8, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
    assert json.loads(told.split("'")[1])["model.peft_config"] == adapter
    told = setups.command("m", replace(SETUP, stage="ppo"))
    assert "--num_processes 1 " in told
    assert json.loads(told.split("'")[1])["train.minibatch_size"] == 2
