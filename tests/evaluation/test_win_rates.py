"""Win rates, raw and at equal length: by hand, against a slow fit, and on outcomes whose truth is known."""

import made_up_worlds as worlds
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from summarize_rlhf.evaluation.win_rates import equal_length, fit, length_controlled, pairs, warning, win_rate, wins


def test_ties_count_half():
    assert wins([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]).tolist() == [[0.0], [0.5], [1.0]]
    assert win_rate(wins([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]))["value"] == 0.625


def test_each_sample_meets_each_of_the_same_post():
    first, second = [[1, 5], [2, 2]], [[0, 3, 9], [2, 1, 3]]
    assert wins(first, second).tolist() == [[1, 0, 0, 1, 1, 0], [0.5, 1, 0, 0.5, 1, 0]]
    a, b = pairs(first, second)
    assert (a[0] - b[0]).tolist() == [1, -2, -8, 5, 2, -4]


def slow_fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The penalised log-likelihood itself, by a search that knows no derivative."""

    def loss(both: np.ndarray) -> float:
        p = expit(both[0] + both[1] * x)
        design = np.stack([np.ones_like(x), x], 1)
        information = design.T @ (design * (p * (1 - p))[:, None])
        return -(y * np.log(p) + (1 - y) * np.log1p(-p)).sum() - 0.5 * np.linalg.slogdet(information)[1]

    return minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_fit_against_a_slow_search(seed):
    """With ties; the second row of each batch is another problem."""
    rng = np.random.default_rng(seed)
    x = np.tanh(rng.normal(0.5, 1, (2, 60)))
    y = np.round(2 * rng.beta(expit(2 * x) * 3, 2)) / 2
    theta, phi = fit(x, y)
    for row in range(2):
        assert [theta[row], phi[row]] == pytest.approx(list(slow_fit(x[row], y[row])), abs=1e-5)


def test_length_that_separates_has_a_finite_fit():
    """Longer always wins: without the penalty φ would grow for ever."""
    x = np.linspace(-1, 1, 40)[None]
    theta, phi = fit(x, (x > 0).astype(float))
    assert abs(theta[0]) < 1e-6
    assert 5 < phi[0] < 50
    assert [theta[0], phi[0]] == pytest.approx(list(slow_fit(x[0], (x[0] > 0).astype(float))), abs=1e-3)


def test_without_differences_in_length_it_is_the_raw_rate_with_half_a_win_and_half_a_loss():
    outcomes = np.array([1.0] * 7 + [0.5] * 2 + [0.0] * 3)[:, None]
    assert length_controlled(outcomes, np.zeros((12, 1)), 50)["value"] == pytest.approx((8 + 0.5) / 13)


def test_nothing_is_known_of_equal_length_where_one_model_is_always_longer():
    won, longer = np.ones((20, 1)), np.full((20, 1), 9.0)
    for few, known in ((0, False), (1, False), (2, True)):
        longer[:few] = -1
        for signed in (longer, -longer):
            assert (length_controlled(won, signed, 50) is not None) == known
    assert "cannot be told" in warning(win_rate(won), None, 20)


def test_a_lead_by_length_alone_vanishes():
    """The truth at equal length is ½; raw, three of four are won."""
    won, longer = worlds.outcomes(np.random.default_rng(0), 4000, 0.0, 2.0, 1.0)
    raw, controlled = win_rate(won), length_controlled(won, longer, 100)
    assert raw["value"] > 0.7
    assert controlled["value"] == pytest.approx(0.5, abs=0.04)
    assert controlled["low"] < 0.5 < controlled["high"]
    assert warning(raw, controlled, 4000).startswith("the win rate of 7")
    assert warning(raw, raw, 4000) is None


def test_a_lead_that_length_hides_appears():
    won, longer = worlds.outcomes(np.random.default_rng(1), 4000, 1.0, 2.0, -1.0)
    assert win_rate(won)["value"] < 0.5
    assert length_controlled(won, longer, 100)["value"] == pytest.approx(expit(1.0), abs=0.04)


def test_the_unit_of_length_does_not_matter():
    won, longer = worlds.outcomes(np.random.default_rng(2), 300, 0.3, 1.0, 0.5)
    assert length_controlled(won, longer, 50) == pytest.approx(length_controlled(won, 7 * longer, 50))


def test_the_interval_of_the_fit_holds_the_truth():
    """100 times 60 posts, so 95 % ± 4.5 %. (docs/evaluation.md: more.)"""
    assert 0.90 <= worlds.simulated(worlds.length(60), 100, resamples=300) <= 0.99


def test_samples_of_a_post_are_drawn_together():
    """Four equal samples are no more posts: the interval is as wide as that of one."""
    won, longer = worlds.outcomes(np.random.default_rng(4), 80, 0.5, 1.0, 0.0)
    one = length_controlled(won, longer, 300)
    four = length_controlled(np.repeat(won, 4, 1), np.repeat(longer, 4, 1), 300)
    assert four["high"] - four["low"] == pytest.approx(one["high"] - one["low"], rel=0.1)


def test_all_won_is_not_certain():
    """Of thirty posts six show that it is not for length: five where the first is shorter, one of equal length."""
    found = length_controlled(np.ones((30, 1)), np.arange(-5.0, 25.0)[:, None], 50)
    assert found["value"] > 0.85
    assert found["low"] == win_rate(np.ones((6, 1)))["low"] < 0.95
    assert found == length_controlled(np.ones((30, 1)), -np.arange(-5.0, 25.0)[:, None], 50)


@pytest.mark.parametrize("outcome", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("longer", [0.0, 1.0, 3.0])
def test_where_all_outcomes_agree_the_interval_holds_its_value(outcome, longer):
    delta = np.random.default_rng(0).normal(longer, 1.0, (2000, 1))
    found = length_controlled(np.full((2000, 1), outcome), delta, 50)
    assert found["low"] <= found["value"] <= found["high"]
    assert found["high"] - found["low"] > 0.001


def test_ten_points_are_worth_a_warning():
    def told(raw: float, controlled: float) -> str | None:
        return warning({"value": raw}, {"value": controlled}, 10**6)

    assert told(0.59, 0.5) is told(0.5, 0.59) is None
    assert told(0.62, 0.5) == (
        "the win rate of 62 % would be 50 % at equal length: the length of the summaries accounts for 12 points"
    )
    assert told(0.5, 0.62).endswith("accounts for 12 points")


def test_what_the_penalty_moves_is_not_the_lengths():
    """Three wins of three, all of one length: 3.5 of 4, which no length accounts for."""
    won = np.ones((3, 1))
    controlled = length_controlled(won, np.zeros((3, 1)), 50)
    assert controlled["value"] == pytest.approx(3.5 / 4)
    assert warning(win_rate(won), controlled, 3) is None


def test_resamples_are_fitted_each_by_itself():
    rng = np.random.default_rng(5)
    y, x = rng.integers(0, 2, (3, 20, 1)).astype(float), rng.normal(size=(3, 20, 1))
    together = equal_length(y, x)
    assert together == pytest.approx([equal_length(y[i : i + 1], x[i : i + 1])[0] for i in range(3)])
