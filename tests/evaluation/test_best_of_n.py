"""Best-of-N: the estimator against all subsets, the bound against the distribution itself."""

import itertools
import math

import numpy as np
import pytest

from summarize_rlhf.evaluation.best_of_n import curve, expected, kl_bound, sizes, weights


def brute_force(rewards: list[float], values: list[float], n: int) -> float:
    """The mean over all subsets of `n`, and over their best samples where several tie."""
    total, count = 0.0, 0
    for drawn in itertools.combinations(range(len(rewards)), n):
        best = max(rewards[i] for i in drawn)
        chosen = [values[i] for i in drawn if rewards[i] == best]
        total, count = total + sum(chosen) / len(chosen), count + 1
    return total / count


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_against_all_subsets(n):
    rng = np.random.default_rng(n)
    rewards, gold = rng.normal(size=(4, 7)), rng.normal(size=(4, 7))
    found, chosen = expected(rewards, n), expected(rewards, n, gold)
    for i in range(4):
        assert found[i] == pytest.approx(brute_force(rewards[i].tolist(), rewards[i].tolist(), n))
        assert chosen[i] == pytest.approx(brute_force(rewards[i].tolist(), gold[i].tolist(), n))


def test_equal_samples_are_chosen_alike_whatever_their_order():
    """Of rewards 1, 1, 2 and pairs: the 2 is in two of three, the third pair ties."""
    assert expected([[1, 1, 2]], 2, [[0, 6, 9]])[0] == pytest.approx((9 + 9 + 3) / 3)
    assert expected([[1, 2, 1]], 2, [[6, 9, 0]])[0] == pytest.approx(7.0)
    assert expected([[1, 1, 2]], 2, [[0, 6, 9]])[0] == pytest.approx(brute_force([1, 1, 2], [0, 6, 9], 2))


def test_one_is_the_mean_and_all_the_best():
    rewards = [[3.0, 1.0, 2.0, 6.0]]
    assert expected(rewards, 1)[0] == 3.0
    assert expected(rewards, 4)[0] == 6.0
    assert weights(64, 32).sum() == pytest.approx(1.0)
    for n in (0, 5):
        with pytest.raises(ValueError, match=f"best of {n} of 4"):
            weights(4, n)


def test_unbiased():
    """Uniform rewards: the best of N is N/(N + 1) in the mean, from eight samples a post as well."""
    rewards = np.random.default_rng(0).random((5_000, 8))
    for n in (1, 2, 4, 8):
        assert expected(rewards, n).mean() == pytest.approx(n / (n + 1), abs=0.006)


def test_the_bound_is_met_where_all_responses_differ_and_far_off_where_few_do():
    """The distribution of the best of N of m equally likely responses: P(rank i) = (i/m)^N − ((i − 1)/m)^N."""
    for n in (1, 2, 8, 64):
        for m, near in ((200_000, True), (4, False)):
            ranks = np.arange(1, m + 1) / m
            p = np.diff(np.concatenate([[0.0], ranks**n]))
            kl = float((p[p > 0] * np.log(p[p > 0] * m)).sum())
            assert kl <= kl_bound(n) + 1e-9
            if near:
                assert kl == pytest.approx(kl_bound(n), abs=0.01)
    assert math.log(4) < kl_bound(64)  # four responses can be no further than log 4
    assert kl_bound(1) == 0.0


def test_sizes():
    assert sizes(64) == [1, 2, 4, 8, 16, 32, 64]
    assert sizes(6) == [1, 2, 4, 6]
    assert sizes(1) == [1]


def test_the_curve_has_gold_where_it_is_known():
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(12, 4))
    without, with_gold = curve(rewards), curve(rewards, -rewards)
    assert [point["n"] for point in without] == [1, 2, 4]
    assert all("gold" not in point for point in without)
    assert without[-1]["reward"]["value"] == pytest.approx(rewards.max(1).mean())
    assert with_gold[-1]["gold"]["value"] == pytest.approx(-rewards.max(1).mean())  # what the reward model chooses
    assert without[0]["reward"]["low"] < without[0]["reward"]["value"] < without[0]["reward"]["high"]


@pytest.mark.parametrize("n", [1, 1000, 2000])
def test_weights_of_two_thousand_samples(n):
    """Whole numbers know (2000 choose 1000), of 601 digits; floating point does not."""
    exact = [math.comb(rank, n - 1) / math.comb(2000, n) for rank in range(2000)]
    assert weights(2000, n) == pytest.approx(exact, rel=1e-9, abs=1e-300)
    assert weights(2000, n).sum() == pytest.approx(1, abs=1e-12)
