"""Standard errors and intervals: by hand, against slow formulas, and by simulation with a known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from summarize_rlhf.intervals import accuracy, bootstrap, mean_and_se, paired_bootstrap, t_interval


def test_the_interval_of_equal_differences_is_a_point():
    assert paired_bootstrap([2.0, 3.0, 4.0], [1.0, 2.0, 3.0]) == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_the_interval_against_the_normal_approximation():
    """400 differences of ±1 around .1: the standard error is about .05, the interval about ±.098."""
    ours = [1.0 if i % 20 < 11 else -1.0 for i in range(400)]
    found = paired_bootstrap(ours, [0.0] * 400)
    assert found["mean"] == pytest.approx(0.1)
    assert found["low"] == pytest.approx(0.1 - 0.0975, abs=0.012)
    assert found["high"] == pytest.approx(0.1 + 0.0975, abs=0.012)


def test_the_interval_of_pairs_holds_the_truth_nineteen_times_in_twenty():
    """200 posts a time, differences with a long tail: 400 intervals, so 95 % ± 2 %."""
    rng = np.random.default_rng(0)
    found = [paired_bootstrap(rng.gamma(2.0, 1.0, 200), [2.0] * 200) for _ in range(400)]
    assert 0.93 <= sum(one["low"] <= 0 <= one["high"] for one in found) / len(found) <= 0.97


def test_rows_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        paired_bootstrap([1.0, 2.0], [1.0])


# ------------------------------------------------------------------------------------- seeds and posts together
def worlds(seeds: int, posts: int, of_seeds: float, of_posts: float, of_cells: float, count: int = 250):
    """Differences (S, N) about a true mean of 0: effects of seeds, of posts, and of single cells, with these s.d.s."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield (
            rng.normal(scale=of_seeds, size=(seeds, 1))
            + rng.normal(scale=of_posts, size=(1, posts))
            + rng.normal(scale=of_cells, size=(seeds, posts))
        )


def coverage(interval, given) -> float:
    """How often the interval holds 0."""
    found = [interval(x) for x in given]
    return sum(one["low"] <= 0 <= one["high"] for one in found) / len(found)


def over_posts_alone(x):
    return bootstrap([x.mean(0)], samples=200)


def over_both(x):
    return bootstrap(x, samples=200)


def test_eight_seeds_that_differ():
    """Seeds of s.d. .3 and posts of s.d. 1: the mean of 8 × 100 has a standard error of .15."""
    sizes = {"seeds": 8, "posts": 100, "of_seeds": 0.3, "of_posts": 1.0, "of_cells": 1.0}
    assert coverage(over_posts_alone, worlds(**sizes)) < 0.88
    assert 0.90 <= coverage(over_both, worlds(**sizes)) <= 0.98
    assert 0.93 <= coverage(t_interval, worlds(**sizes)) <= 0.99


def test_three_seeds_that_differ_much():
    """The bootstrap misses as often as its docstring says, posts alone nearly always, the t-interval 1 time in 20."""
    sizes = {"seeds": 3, "posts": 60, "of_seeds": 1.0, "of_posts": 0.3, "of_cells": 0.3}
    assert coverage(over_posts_alone, worlds(**sizes)) < 0.2
    assert 0.65 <= coverage(over_both, worlds(**sizes)) <= 0.80
    assert 0.92 <= coverage(t_interval, worlds(**sizes)) <= 0.98


def test_seeds_that_do_not_differ():
    """Posts alone would do; drawing seeds too must not make the interval too narrow."""
    sizes = {"seeds": 3, "posts": 100, "of_seeds": 0.0, "of_posts": 1.0, "of_cells": 1.0}
    assert coverage(over_both, worlds(**sizes)) >= 0.93
    assert coverage(t_interval, worlds(**sizes)) >= 0.94


def test_one_seed_is_the_bootstrap_over_posts():
    x = np.random.default_rng(0).normal(size=(1, 50))
    found = bootstrap(x)
    rng = np.random.default_rng(0)
    means = []
    for _ in range(2000):
        rng.integers(1, size=1)
        means.append(x[0][rng.integers(50, size=50)].mean())
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(means, (0.025, 0.975)))
    assert t_interval(x)["se"] == pytest.approx(x.std(ddof=1) / math.sqrt(50))
    assert t_interval(x)["df"] == pytest.approx(49)


def test_posts_are_drawn_once_for_all_seeds():
    """Seeds that agree post by post have no cells that average out: the interval is that of one seed."""
    posts = np.random.default_rng(0).normal(size=80)
    one, three = bootstrap([posts], samples=4000), bootstrap([posts] * 3, samples=4000)
    assert three["high"] - three["low"] == pytest.approx(one["high"] - one["low"], rel=0.05)


def test_two_by_two_by_hand():
    """[[0, 2], [4, 6]]: seeds' means 1 and 5 (variance 8), posts' 2 and 4 (variance 2): se² = 8/2 + 2/2."""
    found = t_interval([[0.0, 2.0], [4.0, 6.0]])
    df = 25 / (16 + 1)
    assert (found["mean"], found["se"], found["df"]) == pytest.approx((3.0, math.sqrt(5), df))
    assert found["high"] - 3.0 == pytest.approx(stats.t.ppf(0.975, df) * math.sqrt(5))
    assert found["low"] + found["high"] == pytest.approx(6.0)


@pytest.mark.parametrize("interval", [bootstrap, t_interval])
def test_no_variance_is_a_point(interval):
    found = interval([[0.5] * 10] * 3)
    assert (found["mean"], found["low"], found["high"]) == (0.5, 0.5, 0.5)


def test_one_value_has_no_interval():
    assert math.isnan(t_interval([[1.0]])["low"])


# ------------------------------------------------------------------------------------------------------ accuracy
def test_accuracy_where_each_post_comes_once():
    found = accuracy([True] * 250 + [False] * 50, range(300))
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["accuracy_se"] == pytest.approx(math.sqrt(5 / 36 / 300))
    # Wilson's interval solves |p - q| = z·√(q(1 - q)/n)
    for edge in (found["accuracy_low"], found["accuracy_high"]):
        assert abs(5 / 6 - edge) == pytest.approx(1.959964 * math.sqrt(edge * (1 - edge) / 300), rel=1e-5)


def test_pairs_on_one_post_count_as_one():
    """100 posts, each told three times alike: the error of 100, not of 300."""
    single = accuracy([True] * 80 + [False] * 20, range(100))
    tripled = accuracy(([True] * 80 + [False] * 20) * 3, list(range(100)) * 3)
    assert tripled == pytest.approx(single)


def test_few_posts_that_agree_are_not_many_answers():
    """Four posts with 4, 5, 5 and 6 right of 8: by hand, 32 answers whose spread three degrees of freedom tell."""
    right = [i < hits for hits in (4, 5, 5, 6) for i in range(8)]
    found = accuracy(right, [post for post in range(4) for _ in range(8)])
    se = math.sqrt(2) / 32  # the posts' sums are off by −1, 0, 0, 1
    assert found["accuracy_se"] == pytest.approx(se)
    n = 0.625 * 0.375 / se**2 * (2.039513 / 3.182446) ** 2 * 3 / 4 * 32 / 31
    assert n > 4
    for edge in (found["accuracy_low"], found["accuracy_high"]):
        assert abs(0.625 - edge) == pytest.approx(1.959964 * math.sqrt(edge * (1 - edge) / n), rel=1e-5)


def test_two_posts_are_never_more_than_two():
    found = accuracy([1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1])
    assert found["accuracy_high"] - found["accuracy_low"] > 0.6


@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.7])
@pytest.mark.parametrize("posts", [6, 7, 13])
def test_equal_shares_are_not_certain_for_rounding(share, posts):
    """The mean of equal numbers may be another number."""
    found = accuracy([share] * posts, range(posts))
    assert found["accuracy_high"] - found["accuracy_low"] > 0.3


def test_a_faultless_model_is_not_certain():
    found = accuracy([True] * 20, range(20))
    assert (found["accuracy_se"], found["accuracy_high"]) == (0.0, 1.0)
    assert found["accuracy_low"] == pytest.approx(20 / (20 + 1.959964**2))


@pytest.mark.parametrize("posts", [5, 7, 8, 9])
def test_rounding_leaves_no_share_outside(posts):
    """Of none or all right, one end is the share itself, exactly."""
    assert accuracy([0] * posts, range(posts))["accuracy_low"] == 0.0
    assert accuracy([1] * posts, range(posts))["accuracy_high"] == 1.0


def test_mean_and_standard_error():
    assert mean_and_se([1.0, 2.0, 3.0]) == pytest.approx((2.0, 1 / math.sqrt(3)))
    assert math.isnan(mean_and_se([1.0])[1])
