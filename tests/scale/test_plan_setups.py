"""What a plan's step is given: DeepSpeed's configuration, PPO's share of the rollouts, its cache and its judge."""

import json
from dataclasses import replace

import pytest
from planned import SETUP
from tiny import gptj_config

from reward_model import footprint as rm
from summarize_rlhf import UserError
from summarize_rlhf.lm.decoding import CACHE_BYTES_ON_CPU, SHARE_OF_GPU_FOR_CACHE
from summarize_rlhf.plan import measuring
from summarize_rlhf.plan.measuring import Measured, deepspeed_of
from trlx import footprint as ppo

CONFIG = gptj_config(400)
PPO = replace(SETUP, stage="ppo", tokens=120)


@pytest.mark.parametrize(("gpus", "batch", "steps"), [(1, 64, 2), (2, 64, 1), (1, 128, 1), (8, 8, 2), (4, 999, 1)])
def test_gradients_add_up_where_the_global_batch_is_larger(gpus: int, batch: int, steps: int) -> None:
    """Of 128 rows in SFT; from the second on, micro-batches are alike, so that two stand for all."""
    found = deepspeed_of(replace(SETUP, gpus=gpus, batch=batch))
    assert (found["gradient_accumulation_steps"], found["train_micro_batch_size_per_gpu"]) == (steps, batch)


def test_the_optimizer_is_where_the_setup_says() -> None:
    for offload, size, there in ((True, 24, True), (False, 24, False), (True, None, False)):
        zero = deepspeed_of(replace(SETUP, offload=offload, size=size))["zero_optimization"]
        assert ("offload_optimizer" in zero) == there


@pytest.mark.parametrize(
    ("zero", "told"),
    [({}, "knows ZeRO-1, 2 and 3"), ({"stage": 0}, "knows ZeRO-1, 2 and 3"),
     ({"stage": 3, "offload_param": {"device": "cpu"}}, "knows no offload_param")],
)  # fmt: skip
def test_files_that_the_planner_does_not_know(zero: dict, told: str, tmp_path) -> None:
    content = {"zero_optimization": zero, "gradient_accumulation_steps": 1}
    (tmp_path / "ds.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=told):
        deepspeed_of(replace(SETUP, file=str(tmp_path / "ds.json")))


def its_size(_config, setup) -> float | None:
    return setup.size


def test_a_setup_is_measured_once_and_the_size_of_a_gpu_matters_to_ppo_alone(monkeypatch) -> None:
    monkeypatch.setattr(measuring, "measure_here", its_size)
    measure = Measured(CONFIG)
    assert [measure(replace(SETUP, size=size)) for size in (24.0, 80.0, 24.0)] == [24.0] * 3
    assert [measure(replace(PPO, size=size)) for size in (24.0, 80.0, 24.0)] == [24.0, 80.0, 24.0]
    assert measure(replace(SETUP, size=None)) is None


@pytest.fixture
def given(monkeypatch):
    """Runs PPO's plan without a step; what its collection would have been given, and whose model judges."""

    def run(setup) -> dict:
        found = {"judge": None}
        names = ("settings", "share", "cache", "read")
        monkeypatch.setattr(ppo, "run", lambda *x: found.update(zip(names, x[4:8], strict=True)))
        monkeypatch.setattr(rm, "judge", lambda config, *x: found.update(judge=config, tokens=x[2], spread=x[4]))
        measuring.run(CONFIG, setup, None)
        return found

    return run


def test_a_collection_is_shared_out(given) -> None:
    more = '{"method.num_rollouts": 10}'
    eight = given(replace(PPO, gpus=8, overrides=more))
    assert (eight["share"], eight["judge"], eight["spread"]) == (2, CONFIG, False)
    assert eight["cache"] == 24e9 * SHARE_OF_GPU_FOR_CACHE
    assert (eight["read"], eight["tokens"], eight["settings"].train.seq_length) == (None, 120, 120)
    cpu = given(replace(PPO, size=None, offload=False, precision="fp32", overrides=more))
    assert (cpu["share"], cpu["cache"]) == (10, CACHE_BYTES_ON_CPU)
    assert cpu["read"] is not None


def test_who_judges(given, tmp_path) -> None:
    assert given(replace(PPO, gpus=2))["judge"] is None  # it has the second GPU
    assert given(replace(PPO, reward_model="elsewhere"))["judge"] is None
    gptj_config(400, layers=3).save_pretrained(tmp_path)
    assert given(replace(PPO, reward_model=str(tmp_path)))["judge"].n_layer == 3
