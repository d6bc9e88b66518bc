"""Calibration of a reward model's margins: by hand, in closed form, and on margins whose truth is known."""

import math

import numpy as np
import pytest

from summarize_rlhf.evaluation.calibration import (
    brier_score,
    calibration,
    expected_calibration_error,
    fitted_temperature,
    log_loss,
    reliability,
)

LOG3 = math.log(3)  # sigmoid of it is 3/4


def test_figures_by_hand() -> None:
    """Three pairs right and one wrong, each with confidence 3/4: calibrated to the last digit."""
    margins = [LOG3, LOG3, -LOG3, LOG3]
    assert reliability(margins) == [{"confidence": pytest.approx(0.75), "accuracy": 0.75, "pairs": 4}]
    assert expected_calibration_error(margins) == pytest.approx(0, abs=1e-12)
    assert brier_score(margins) == pytest.approx(3 / 4 * (1 / 4) ** 2 + 1 / 4 * (3 / 4) ** 2)
    assert log_loss(margins) == pytest.approx(-3 / 4 * math.log(3 / 4) - 1 / 4 * math.log(1 / 4))
    assert fitted_temperature(margins) == pytest.approx(1)


def test_error_sums_over_the_bins_by_their_pairs() -> None:
    """Two pairs at 3/4, both wrong; three at 90 per cent, all right; one tie, half right of 50 per cent."""
    margins = [-LOG3, -LOG3, *[math.log(9)] * 3, 0.0]
    assert [(b["pairs"], b["accuracy"]) for b in reliability(margins)] == [(1, 0.5), (2, 0.0), (3, 1.0)]
    assert [b["confidence"] for b in reliability(margins)] == pytest.approx([0.5, 0.75, 0.9])
    assert expected_calibration_error(margins) == pytest.approx((2 * 0.75 + 3 * 0.1 + 0) / 6)


def test_bins_are_a_twentieth_wide() -> None:
    margins = [math.log(p / (1 - p)) for p in (0.54, 0.56, 0.59, 0.949, 0.951)]
    assert [b["pairs"] for b in reliability(margins)] == [1, 2, 1, 1]


def test_a_sure_model_falls_into_the_last_bin() -> None:
    """Confidences .98 and 1."""
    assert [b["pairs"] for b in reliability([4.0, 50.0, 1e4, -1e4])] == [4]


def test_large_margins_do_not_overflow() -> None:
    assert log_loss([-2000.0, 2000.0]) == pytest.approx(1000)
    assert brier_score([-2000.0, 2000.0]) == pytest.approx(0.5)


@pytest.mark.parametrize("share", [0.55, 0.7, 0.95])
@pytest.mark.parametrize("margin", [0.1, 1.0, 12.0])
def test_temperature_in_closed_form(share: float, margin: float) -> None:
    """Margins of one size, right in a share q: least where sigmoid(m/T) = q, so T = m / log(q/(1 − q))."""
    right = round(share * 20)
    margins = [margin] * right + [-margin] * (20 - right)
    assert fitted_temperature(margins) == pytest.approx(margin / math.log(share / (1 - share)), rel=1e-6)


def test_temperature_is_the_best_of_a_grid_and_undoes_a_scale() -> None:
    """Answers drawn from the margins themselves, which are then said four times too large."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=4000) * 2
    margins = 4 * np.abs(true) * np.where(rng.random(4000) < 1 / (1 + np.exp(-np.abs(true))), 1, -1)
    found = fitted_temperature(margins)
    assert found == pytest.approx(4, rel=0.1)
    grid = np.linspace(0.5, 12, 400)
    losses = [log_loss(margins / t) for t in grid]
    assert abs(grid[np.argmin(losses)] - found) < 0.03
    assert log_loss(margins / found) < min(log_loss(margins), *losses) + 1e-9
    assert expected_calibration_error(margins / found) < 0.03 < 0.1 < expected_calibration_error(margins)


@pytest.mark.parametrize("margins", [[1.0, 2.0], [0.0, 1.0], [-1.0, -2.0], [1.0, -1.0], [0.0, 0.0]])
def test_no_temperature_where_none_is_finite(margins) -> None:
    """All right: the smaller the better. As often wrong as right: the larger the better."""
    assert fitted_temperature(margins) is None


def test_all_of_them() -> None:
    margins = [LOG3, -1.0, 2.0]
    assert calibration(margins) == {
        "ece": expected_calibration_error(margins),
        "brier": brier_score(margins),
        "log_loss": log_loss(margins),
        "temperature": fitted_temperature(margins),
        "bins": reliability(margins),
    }
