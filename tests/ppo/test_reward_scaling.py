"""What becomes of a score before PPO sees it, in trlX's order; and what the KL controller hears."""

import itertools
import json
import statistics
from pathlib import Path

import pytest
from tiny_trlx import tiny_config, tiny_trainer

from trlx.data.configs import TRLConfig


@pytest.fixture
def config(gptj_dir, tmp_path):
    """`tiny_config` without KL penalty; its response is worth the sum of its scores (gamma and lambda 1)."""
    plain = {"method.init_kl_coef": 0.0, "method.lam": 1.0}
    return lambda **overrides: tiny_config(gptj_dir, tmp_path / "out", **plain, **overrides)


def as_published(collections: list[list[list[float]]], clip: float | None, how: str | None, ref_std: float | None):
    """trlX's `make_experience` in slow Python: clip each score, then take moments, then divide.

    A score is a list, of one number or of one per token; the moments are those of their sums.
    """
    seen: list[float] = []
    for scores in collections:
        clipped = [[min(max(x, -clip), clip) if clip else x for x in row] for row in scores]
        sums = [sum(row) for row in clipped]
        seen += sums
        ref_std = statistics.stdev(sums) if ref_std is None else ref_std
        spread = {"running": statistics.stdev(seen), "ref": ref_std}.get(how, 1.0)
        yield [[x / spread for x in row] for row in clipped]


def returns_of(config: TRLConfig, collections: list[list[list[float]]], dense: bool) -> list[list[list[float]]]:
    """What enters PPO of each collection's scores, by the trainer: differences of the returns, which values do not
    touch where gamma and lambda are 1."""
    given = iter(collections)

    def reward(output_ids, **_):
        pairs = zip(next(given), output_ids, strict=True)
        return [(row + [0.0] * len(ids))[: len(ids)] if dense else row[0] for row, ids in pairs]

    trainer = tiny_trainer(config, reward)
    found = []
    for _ in collections:
        rollouts, _ = trainer.make_experience()
        rows = [[*r.returns.tolist(), 0.0] for r in rollouts]
        found.append([[a - b for a, b in itertools.pairwise(row)] for row in rows])
    return found


FIRST = [[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0], [50.0]]
SECOND = [[-30.0], [0.5], [1.5], [9.0], [11.0], [-2.0], [-7.0], [0.25]]


@pytest.mark.parametrize(
    ("how", "clip", "ref_std"),
    [
        (None, 10.0, None),
        ("ignored", 10.0, None),
        (None, None, None),
        ("running", 10.0, None),
        ("running", None, None),
        ("ref", 10.0, None),
        ("ref", 10.0, 0.5),
        ("ref", 0.0, 2.0),
    ],
)
def test_scores_are_clipped_then_divided_as_published(config, how, clip, ref_std) -> None:
    """Two collections, so that "running" moves on and "ref" stays with the first. A clip at 10 divided by .5 is 20."""
    settings = config(method__scale_reward=how, method__cliprange_reward=clip, method__ref_std=ref_std)
    found = returns_of(settings, [FIRST, SECOND], dense=False)
    for rows, expected in zip(found, as_published([FIRST, SECOND], clip, how, ref_std), strict=True):
        for row, score in zip(rows, expected, strict=True):
            assert row[-1] == pytest.approx(score[0], rel=1e-5, abs=1e-5)
            assert row[:-1] == pytest.approx([0.0] * (len(row) - 1), abs=1e-5)


@pytest.mark.parametrize("how", [None, "running", "ref"])
def test_each_token_of_a_dense_reward_is_clipped(config, how) -> None:
    """Tokens are clipped at ± 4 one by one; what moves the moments is the sum of a response's clipped tokens."""
    three = {"max_new_tokens": 3, "min_new_tokens": 3}
    settings = config(method__scale_reward=how, method__cliprange_reward=4.0, method__gen_kwargs=three)
    first = [[9.0, -1.0, float(i)] for i in range(8)]
    second = [[-1.0, -9.0, 0.5 * i] for i in range(8)]
    found = returns_of(settings, [first, second], dense=True)
    for rows, expected in zip(found, as_published([first, second], 4.0, how, None), strict=True):
        for row, scores in zip(rows, expected, strict=True):
            assert row == pytest.approx(scores, rel=1e-5, abs=1e-5)


def test_the_logged_mean_is_of_the_scores_as_they_came(config) -> None:
    """Clipping must not hide a reward that runs away; the running moments are of what was clipped."""
    trainer = tiny_trainer(config(method__scale_reward="running"), lambda outputs, **_: [row[0] for row in FIRST])
    stats = trainer.make_experience()[1]
    assert stats["rollout_scores/mean"] == pytest.approx(78 / 8)
    assert stats["rollout_scores/running_mean"] == pytest.approx(38 / 8)
    assert stats["rollout_scores/running_std"] == pytest.approx(statistics.stdev([1, 2, 3, 4, 5, 6, 7, 10]))


def test_the_controller_hears_nats_an_episode(config) -> None:
    """After a collection the coefficient is Ziegler's formula of the logged `policy/kl` (nats an episode) and the
    number of episodes."""
    settings = config(train__epochs=3, method__horizon=50, method__target=1e-3, optimizer__kwargs={"lr": 3e-3})
    trainer = tiny_trainer(settings.evolve(method={"init_kl_coef": 0.1}))
    update, heard = trainer.kl_controller.update, []

    def watch(current, n_steps):
        heard.append((current, n_steps))
        update(current, n_steps)

    trainer.kl_controller.update = watch
    trainer.learn()
    lines = [json.loads(line) for line in (Path(settings.train.checkpoint_dir) / "metrics.jsonl").open()]
    collections = [line for line in lines if "policy/kl" in line]
    assert len(heard) == len(collections) == 3
    assert collections[-1]["rollouts/response_length"] > 1.5  # else both would be the same
    assert abs(collections[-1]["policy/kl"]) > 1e-3
    coefficient = 0.1
    for (current, episodes), line in zip(heard, collections, strict=True):
        assert line["kl_ctl_value"] == pytest.approx(coefficient)
        assert (current, episodes) == (line["policy/kl"], 8)
        coefficient *= 1 + min(max(line["policy/kl"] / 1e-3 - 1, -0.2), 0.2) * 8 / 50
    assert trainer.kl_controller.value == pytest.approx(coefficient)
