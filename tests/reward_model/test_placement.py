"""Where PPO's reward model stands: on a spare GPU, on the policy's, or in shares; all processes score."""

import json
from types import SimpleNamespace

import pytest
import torch
from configured_launches import make_reward_dir, overrides
from forkserver import DOCUMENTED
from logged import metrics
from zero_files import ZERO

import trlx_gptj_text_summarization as stage_3
from reward_model import placement
from reward_model.placement import check_shares, reward_device
from summarize_rlhf import UserError
from trlx.trainer.setup import zero_stage

SCORES = ("rollout_scores/mean", "rollout_scores/std", "reward/mean")


@pytest.mark.parametrize(
    ("gpus", "processes", "places"),
    [
        (1, 1, [0]),
        (2, 1, [1]),  # as published
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 4, [4, 5, 6, 7]),
        (8, 6, [6, 7, 6, 7, 6, 7]),
    ],
)
@pytest.mark.parametrize("machines", [1, 4])
def test_a_spare_gpu_of_this_machine_else_the_policys(monkeypatch, gpus, processes, places, machines) -> None:
    monkeypatch.setattr(placement.torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.setenv("WORLD_SIZE", str(machines * processes))
    assert [reward_device(torch.device("cuda", i)).index for i in range(processes)] == places
    assert reward_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("environment", "stage"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "false"}, 0),
        ({"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, 3),  # accelerate launch --use_deepspeed --zero_stage 3
        ({}, 2),  # Accelerate's default
        ({"ACCELERATE_DEEPSPEED_CONFIG_FILE": "configs/deepspeed/zero3.json"}, 3),
        ({"ACCELERATE_DEEPSPEED_CONFIG_FILE": "configs/deepspeed/zero2.json"}, 2),
    ],
)
def test_the_zero_stage_that_was_asked_for(monkeypatch, environment, stage) -> None:
    for name in ("ACCELERATE_DEEPSPEED_ZERO_STAGE", "ACCELERATE_DEEPSPEED_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"ACCELERATE_USE_DEEPSPEED": "true"} | environment).items():
        monkeypatch.setenv(name, value)
    assert zero_stage("auto") == stage


@pytest.mark.parametrize(("a_machine_has_none", "sharded"), [(1, True), (0, False)])
def test_one_machine_without_a_spare_gpu_has_all_share(monkeypatch, a_machine_has_none, sharded) -> None:
    """This one has a GPU to spare; what the others say comes in by the collective."""
    monkeypatch.setattr(stage_3, "max_over_processes", lambda mine, device: max(mine, a_machine_has_none))
    monkeypatch.setattr(stage_3, "zero_stage", lambda precision: 3)
    state = SimpleNamespace(num_processes=2, device=torch.device("cuda", 0))
    assert stage_3.must_shard(stage_3.config.train, state, torch.device("cuda", 1)) is sharded


def test_too_few_texts_for_all_to_score_together() -> None:
    check_shares(2, 2)
    with pytest.raises(UserError, match="1 evaluation prompts are less than one for each of 2 processes"):
        check_shares(1, 2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shares_score_what_the_whole_scores(server, gptj_dir, tmp_path, dtype: str) -> None:
    """On two processes with unequally many texts; where one finds no number, the other goes on."""
    values = {"model": str(make_reward_dir(tmp_path / "rm", gptj_dir)), "out": str(tmp_path), "dtype": dtype}
    ended = server.run("scorer", [json.dumps(values)], tmp_path, 2)
    assert ended.code == 0, ended.err[-3000:]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for rank, one in enumerate(found):
        assert [len(shared) for _, shared in one["scores"]] == [[5, 2, 1], [0, 5, 1]][rank]
        for whole, shared in one["scores"]:
            assert shared == pytest.approx(whole, abs=1e-6)
        assert one["digest"][0] == one["digest"][1] == found[0]["digest"][0]
    numbers, _ = found[0]["numbers"]
    assert max(one["numbers"][1] for one in found) < 0.75 * numbers, "small tensors stay whole"
    assert "the reward model gave nan" in found[0]["error"]
    assert "error" not in found[1]


def test_stage_3_under_zero_3_shares_the_reward_model(server, gptj_dir, tldr_dir, tmp_path) -> None:
    """And learns from the scores that it has under ZeRO-2, where each process has the whole one."""
    figures, values = {}, json.loads(overrides(gptj_dir, tldr_dir, tmp_path))
    for zero in ("2", "3"):
        (tmp_path / f"{zero}.json").write_text(json.dumps({"zero_optimization": ZERO[zero]}))
        environment = DOCUMENTED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(tmp_path / f"{zero}.json")}
        arguments = [json.dumps(values | {"train.checkpoint_dir": str(tmp_path / zero)})]
        ended = server.run("ppo", arguments, tmp_path, 2, **environment)
        assert ended.code == 0, ended.err[-3000:]
        assert ("reward model: spread over 2 processes" in ended.out) == (zero == "3")
        figures[zero] = [{k: row[k] for k in SCORES if k in row} for row in metrics(tmp_path / zero)]
    assert any(figures["3"])
    assert figures["3"] == [pytest.approx(row, abs=1e-5) for row in figures["2"]]
