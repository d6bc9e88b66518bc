"""Verdicts, and the difference that so many posts would detect; repetition."""

import numpy as np
import pytest

from summarize_rlhf.evaluation.repetition import repeated_share
from summarize_rlhf.evaluation.verdict import detectable, power_of, verdict
from summarize_rlhf.evaluation.win_rates import win_rate


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.51, 0.7, "better"), (0.5, 0.7, "undecided"), (0.3, 0.6, "undecided"), (0.3, 0.5, "undecided"),
     (0.2, 0.49, "worse"), (None, None, "undecided")],
)  # fmt: skip
def test_three_verdicts(low, high, expected):
    assert verdict({"value": 0.5, "low": low, "high": high}, [0.0, 1.0] * 50) == expected


def test_few_posts_decide_nothing():
    """All of seven are won, or seven of two hundred and the others tie: what can be detected says as much."""
    for ties in (0, 193):
        for won, told in ((7, "undecided"), (8, "better")):
            outcomes = [1.0] * won + [0.5] * ties
            assert win_rate(outcomes)["low"] > 0.5
            assert verdict(win_rate(outcomes), outcomes) == told
            lost = [1 - x for x in outcomes]
            assert verdict(win_rate(lost), lost) == {"better": "worse"}.get(told, told)
    assert detectable([1.0] * 7) == 0.5 > detectable([1.0] * 8)


def test_detectable_by_hand():
    """Without ties s = ½: (1.96 + .8416)·½/√100 = .140; half of the posts ties: s = √(½·¼)."""
    assert detectable([0.0, 1.0] * 50) == pytest.approx(0.14008, abs=1e-4)
    assert detectable([0.5] * 50 + [0.0, 1.0] * 25) == pytest.approx(0.14008 / 2**0.5, abs=1e-4)
    assert detectable([0.5] * 100) == pytest.approx(0.14008, abs=1e-4)
    assert detectable([1.0] * 90 + [0.0] * 10) == pytest.approx(0.14008, abs=1e-4)  # about ½, not about the mean
    assert detectable([0.0, 1.0]) == 0.5
    assert power_of([0.0, 1.0] * 50) == "100 posts would detect ± 14 points"
    assert power_of([1.0]) == "1 post is too few to detect any difference"
    assert power_of([1.0] * 7) == "7 posts are too few to detect any difference"


def test_what_is_called_detectable_is_detected_four_times_in_five():
    rng, posts = np.random.default_rng(0), 200
    effect = detectable([0.0, 1.0] * (posts // 2))

    def told(share: float) -> str:
        outcomes = rng.binomial(1, share, posts)
        return verdict(win_rate(outcomes), outcomes)

    found = [told(0.5 + effect) for _ in range(1000)]
    assert 0.75 <= found.count("better") / 1000 <= 0.85
    null = [told(0.5) for _ in range(1000)]
    assert null.count("undecided") / 1000 >= 0.93


def test_samples_of_a_post_count_once():
    assert detectable([[0, 1]] * 10 + [[1, 1], [0, 0]] * 10) == pytest.approx(detectable([0.5] * 10 + [1, 0] * 10))


def test_repeated_share_by_hand():
    """Of ten words seven runs of four; "my cat is lost" and two overlapping it come again."""
    assert repeated_share("My cat is lost my cat is lost my cat") == pytest.approx(3 / 7)
    assert repeated_share("a b c d e f") == 0.0
    assert repeated_share("a a a") == 0.0
    assert repeated_share("a a a a a") == 0.5
    assert repeated_share("") == 0.0
    assert repeated_share("a b a b", n=2) == pytest.approx(1 / 3)
