"""How many updates a PPO epoch has, where that is asked for, whatever the launcher accumulates."""

import math

import pytest
from launched_ppo import run
from logged import metrics
from tiny_trlx import tiny_config

from trlx.trainer.batch_plan import BatchPlan, accumulation_for


@pytest.mark.parametrize("rollouts", [7, 8, 256])
@pytest.mark.parametrize("minibatches", [1, 2, 3])
@pytest.mark.parametrize("processes", [1, 2, 8])
@pytest.mark.parametrize("batch", [1, 4])
def test_counts_by_hand(tmp_path, rollouts: int, minibatches: int, processes: int, batch: int) -> None:
    """The rollouts of the fullest rank, dealt out in training batches, by counting them one by one."""
    options = {"method.num_rollouts": rollouts, "method.num_minibatches": minibatches, "train.batch_size": batch}
    config = tiny_config(tmp_path, tmp_path, **options)
    accumulation = accumulation_for(config.train, config.method, 4, processes)
    plan = BatchPlan(config.train, config.method, accumulation, processes)
    share, batches = math.ceil(rollouts / processes), 1
    while batches * batch * minibatches < share:  # the fewest whole batches with which the minibatches hold all
        batches += 1
    assert accumulation == batches
    assert plan.updates_per_epoch <= minibatches
    if share % (minibatches * batch) == 0:
        assert plan.updates_per_epoch == minibatches


def test_without_it_the_launcher_decides(tmp_path) -> None:
    config = tiny_config(tmp_path, tmp_path)
    assert accumulation_for(config.train, config.method, 4, 2) == 4


def test_one_minibatch_is_the_update_of_all_rollouts(gptj_dir, tmp_path) -> None:
    """The same run as with training batches of all rollouts, figure by figure; Adam's epsilon hides no rounding."""
    common = {"optimizer.kwargs.eps": 1e-3, "train.save_optimizer": True}
    ways = {"whole": {"train.batch_size": 8}, "split": {"train.batch_size": 2, "method.num_minibatches": 1}}
    logs = {}
    for name, options in ways.items():
        run(str(gptj_dir), str(tmp_path / name), common | options)
        logs[name] = metrics(tmp_path / name)
    updates = {name: [row for row in rows if "losses/total_loss" in row] for name, rows in logs.items()}
    assert len(updates["split"]) == len(updates["whole"]) == 4  # two collections, two PPO epochs
    for one, other in zip(updates["split"], updates["whole"], strict=True):
        assert one["step"] == 4 * other["step"]
        for key in one.keys() - {"step"}:
            assert one[key] == pytest.approx(other[key], rel=1e-4, abs=2e-5), key
