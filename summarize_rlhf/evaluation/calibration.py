"""Whether a reward model's margins mean what they say: under Bradley and Terry, P(chosen preferred) = sigmoid(margin).

`margins` (N,) are the score of each pair's chosen summary less that of its rejected one. A confidence is the
probability that the model gives to the summary that it prefers: sigmoid(|margin|), from .5 to 1. A tie is half right.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

BINS = 10  # of confidence, of equal width from .5 to 1


def half_right(margins: Any) -> np.ndarray:
    """Return 1 for each pair that is ranked as people did, 0 for one that is not, ½ for a tie (N,)."""
    return np.heaviside(np.asarray(margins, dtype=np.float64), 0.5)


def reliability(margins: Sequence[float], bins: int = BINS) -> list[dict[str, float | int]]:
    """Return mean `confidence`, `accuracy` and number of `pairs` of each bin of confidence that holds a pair."""
    x = np.asarray(margins, dtype=np.float64)
    confidence, right = expit(np.abs(x)), half_right(x)
    number = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    found = []
    for b in np.unique(number):
        inside = number == b
        means = {"confidence": confidence[inside].mean().item(), "accuracy": right[inside].mean().item()}
        found.append({**means, "pairs": int(inside.sum())})
    return found


def expected_calibration_error(margins: Sequence[float], bins: int = BINS) -> float:
    """Return Σ_bin (pairs of the bin / N) · |accuracy − confidence| (Guo et al. 2017, arXiv 1706.04599, eq. 3)."""
    found = reliability(margins, bins)
    return sum(b["pairs"] * abs(b["accuracy"] - b["confidence"]) for b in found) / len(margins)


def brier_score(margins: Sequence[float]) -> float:
    """Return the mean of (1 − sigmoid(margin))² (Brier 1950); .25 for a model that says ½ of every pair."""
    return float(np.mean(expit(-np.asarray(margins, dtype=np.float64)) ** 2))


def log_loss(margins: Sequence[float]) -> float:
    """Return the mean of −log sigmoid(margin), in nats; log 2 = .693 for a model that says ½ of every pair."""
    return float(np.mean(np.logaddexp(0, -np.asarray(margins, dtype=np.float64))))


def fitted_temperature(margins: Sequence[float]) -> float | None:
    """Return the T at which −log sigmoid(margin / T) is least in the mean (temperature scaling, Guo et al. 2017).

    Above 1 the margins promise too much, below 1 too little. The loss is convex in 1/T; its least value is where

        mean(margin · sigmoid(−margin / T)) = 0

    None where that is at no finite T: every pair right (T would be 0), or the mean margin not above 0 (infinite).
    """
    x = np.asarray(margins, dtype=np.float64)
    if x.mean() <= 0 or x.min() >= 0:
        return None

    def slope(inverse: float) -> float:
        return float(np.mean(x * expit(-x * inverse)))

    high = 1.0
    while slope(high) > 0:
        high *= 2
    return 1 / brentq(slope, 0.0, high, xtol=1e-14)


def calibration(margins: Sequence[float]) -> dict[str, Any]:
    """Return all of these: `ece`, `brier`, `log_loss`, `temperature`, `bins`."""
    return {
        "ece": expected_calibration_error(margins),
        "brier": brier_score(margins),
        "log_loss": log_loss(margins),
        "temperature": fitted_temperature(margins),
        "bins": reliability(margins),
    }
