"""Intervals over posts: by hand, against closed forms, and how often they hold a known truth."""

import made_up_worlds as worlds
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from summarize_rlhf.evaluation import estimates
from summarize_rlhf.evaluation.estimates import bootstrapped, level, mean, per_post, rate


@pytest.mark.parametrize("world", [worlds.normal(40), worlds.clustered(40)], ids=lambda world: world.data)
def test_the_interval_of_a_mean_holds_it_nineteen_times_in_twenty(world):
    """As often as Student's, which is exact here, but for one in a hundred. (docs/evaluation.md: more of each.)"""

    def student(values, resamples):
        x = per_post(values)
        low, high = stats.t.interval(0.95, len(x) - 1, x.mean(), x.std(ddof=1) / len(x) ** 0.5)
        return {"low": low, "high": high}

    ours = worlds.simulated(world, 500, resamples=2000)
    assert ours == pytest.approx(worlds.simulated(world._replace(estimate=student), 500, resamples=0), abs=0.012)


def test_without_expansion_and_clusters_the_truth_is_missed():
    def plain(x, resamples):
        low, high = np.quantile(x[np.random.default_rng(0).integers(15, size=(600, 15))].mean(1), (0.025, 0.975))
        return {"low": low, "high": high}

    few, many = worlds.normal(15), worlds.clustered(100)
    assert worlds.simulated(few._replace(estimate=plain), 400, resamples=600) < 0.93
    flat = many._replace(estimate=lambda x, **options: mean(x.ravel(), **options))
    assert worlds.simulated(flat, 60, resamples=600) < 0.7


@pytest.mark.parametrize("posts", [40, 100])
def test_the_interval_of_a_rate_by_the_binomial_distribution(posts):
    assert 0.94 <= worlds.of_rates(posts) <= 0.96


def test_samples_are_averaged_before_posts():
    assert per_post([[1, 2], [3, 5]]).tolist() == [1.5, 4.0]
    assert mean([[1, 2], [3, 5]])["value"] == 2.75
    assert per_post([7, 8]).tolist() == [7.0, 8.0]


def test_close_to_the_t_interval():
    """Of symmetric values the expanded bootstrap is Student's interval, but for the rounding of 20,000 resamples."""
    x = np.random.default_rng(3).normal(5, 3, 30)
    found = mean(x, resamples=20_000)
    low, high = stats.t.interval(0.95, 29, x.mean(), x.std(ddof=1) / 30**0.5)
    assert found["value"] == pytest.approx(x.mean())
    assert [found["low"], found["high"]] == pytest.approx([low, high], abs=0.06)


def test_the_level_by_hand():
    """t(.975, 9) = 2.262157; times √(10/9) it is 2.384528, beyond which a normal distribution has 1.71 % in all."""
    assert level(10) == pytest.approx(1 - 0.0171, abs=1e-4)
    assert level(10**6) == pytest.approx(0.95, abs=1e-5)


@pytest.mark.parametrize("posts", [2, 4, 7])
def test_few_posts_have_students_interval(posts):
    """A bootstrap of two posts holds the mean every other time."""
    x = np.random.default_rng(3).normal(5, 3, (posts, 3))
    low, high = stats.t.interval(0.95, posts - 1, x.mean(), x.mean(1).std(ddof=1) / posts**0.5)
    assert mean(x) == pytest.approx({"value": x.mean(), "low": low, "high": high})


@pytest.mark.parametrize(("posts", "samples"), [(2, 4), (4, 8), (10, 4)])
def test_few_posts_with_several_samples_hold_the_rate(posts, samples):
    """600 times, rates of posts that differ: 95 % ± 1.8 %, or more where there are two."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(600):
        chance = expit(rng.normal(0, 1, (posts, 1)))
        found = rate(rng.random((posts, samples)) < chance)
        held += found["low"] <= 0.5 <= found["high"]
    assert held / 600 >= 0.925


def test_resamples_are_the_same_however_many_are_held_at_once(monkeypatch):
    values = np.random.default_rng(0).normal(size=30)
    found = mean(values)
    monkeypatch.setattr(estimates, "AT_ONCE", 7)  # less than one resample has
    assert mean(values) == found


def test_one_post_has_no_interval():
    assert mean([2.0]) == {"value": 2.0, "low": None, "high": None}


def test_equal_values_are_a_point_and_equal_outcomes_are_not():
    assert mean([2.0] * 9) == {"value": 2.0, "low": 2.0, "high": 2.0}
    faultless = rate([1.0] * 20)
    assert (faultless["value"], faultless["high"]) == (1.0, 1.0)
    assert faultless["low"] == pytest.approx(20 / (20 + 1.959964**2))


def test_a_statistic_sees_the_posts_drawn():
    """Of 0, …, 9 the mean number drawn is 4.5; each row of numbers is one resample."""
    shapes = set()

    def statistic(drawn):
        shapes.add(drawn.shape[1])
        return drawn.mean(-1)

    found = bootstrapped(10, statistic, 200)
    assert shapes == {10}
    assert found["value"] == 4.5
    assert 0 < found["low"] < 4.5 < found["high"] < 9
    assert bootstrapped(10, statistic, 200) == found  # the same resamples each time
