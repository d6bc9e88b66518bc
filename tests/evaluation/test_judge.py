"""A judge is asked in both orders, once, and agrees with known verdicts as far as κ says."""

import sys

import numpy as np
import pytest

from summarize_rlhf import UserError
from summarize_rlhf.evaluation.judge import agreement, ask, judged, kappa, preference


def longer(post: str, first: str, second: str) -> float:
    return float(np.heaviside(len(first) - len(second), 0.5))


def test_both_orders():
    assert preference("longer", longer, "post", "a long one", "short", {}) == (1.0, True)
    assert preference("longer", longer, "post", "short", "a long one", {}) == (0.0, True)
    assert preference("longer", longer, "post", "same", "mesa", {}) == (0.5, True)
    assert preference("position", lambda *_: 1.0, "post", "one", "other", {}) == (0.5, False)
    assert preference("leaning", lambda p, a, b: 0.75 if a == "x" else 0.25, "post", "x", "y", {}) == (0.75, True)


def test_an_answer_is_asked_for_once():
    asked, answers = [], {}

    def judge(*question):
        asked.append(question)
        return 1.0

    for _ in range(2):
        preference("j", judge, "post", "a", "b", answers)
    assert asked == [("post", "a", "b"), ("post", "b", "a")]


@pytest.mark.parametrize(
    ("judge", "told"),
    [(lambda *_: 2.0, "answered 2.0"), (lambda *_: float("nan"), "answered nan"), (lambda *_: None, "TypeError"),
     (lambda *_: 1 / 0, "ZeroDivisionError"), (lambda *_: sys.exit(3), "SystemExit")],
)  # fmt: skip
def test_a_judge_that_fails_is_named(judge, told):
    answers = {}
    with pytest.raises(UserError, match=f"the judge a:b .*{told}"):
        ask("a:b", judge, ("post", "a", "b"), answers)
    assert answers == {}


def test_kappa_by_hand():
    """Cohen's table: 20 of 50 both yes, 15 both no, 5 and 10 between: agreement .7, chance .5, κ .4."""
    ours = [1] * 20 + [1] * 5 + [0] * 10 + [0] * 15
    theirs = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    found = kappa(ours, theirs)
    assert found["value"] == pytest.approx(0.4)
    assert 0 < found["low"] < 0.4 < found["high"] < 1


def test_kappa_at_its_ends():
    assert kappa([1, 0, 1, 0], [1, 0, 1, 0])["value"] == 1.0
    assert kappa([1, 0, 1, 0], [0, 1, 0, 1])["value"] == -1.0
    assert kappa([1, 1, 1], [1, 1, 1])["value"] == 0.0  # chance agrees throughout: nothing is shown
    assert kappa([0.5, 1.0, 0.0], [0.5, 1.0, 0.0])["value"] == 1.0  # ties are a verdict of their own
    assert kappa([0.9, 0.2], [1, 0])["value"] == 1.0  # which side of ½ counts


def test_kappa_against_slow_counting():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, 60) / 2, rng.integers(0, 3, 60) / 2
    agreed = sum(x == y for x, y in zip(a, b, strict=True)) / 60
    chance = sum((list(a).count(v) / 60) * (list(b).count(v) / 60) for v in (0, 0.5, 1))
    assert kappa(a, b)["value"] == pytest.approx((agreed - chance) / (1 - chance))


# ------------------------------------------------------------------------------------------------ a whole comparison
def test_agreement_shows_each_second_pair_the_other_way_round():
    pairs = [{"prompt": "post", "chosen": "a long one", "rejected": "short"}] * 6
    assert agreement("longer", longer, pairs)["value"] == 1.0
    assert agreement("shorter", lambda *q: 1 - longer(*q), pairs)["value"] == -1.0
    assert agreement("position", lambda *_: 1.0, pairs)["value"] == 0.0


def test_a_judge_compares_texts_of_the_same_post():
    texts = {"sft": ["aa", "bbbb", "c"], "ppo": ["aaa", "bb", "ccc"], "label": ["a", "b", "c"]}
    answers = {}
    found, consistent = judged("longer", longer, ["p", "q", "r"], texts, [("ppo", "sft"), ("sft", "label")], answers)
    assert [row["win_rate"]["value"] for row in found] == [pytest.approx(2 / 3), pytest.approx(2.5 / 3)]
    assert [row["difference"] for row in found] == [None, None]
    assert consistent == 1.0
    assert {("p", "aaa", "aa"), ("q", "bb", "bbbb"), ("r", "ccc", "c"), ("r", "c", "c")} <= set(answers)
