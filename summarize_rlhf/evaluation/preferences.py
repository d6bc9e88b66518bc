"""What goes along with a reward model's preferences: margin, length, copying; and how far scores of a post spread.

N pairs of summaries, each of one post: the first is the one that people chose.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def rule_accuracy(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """Return how often the rule "the larger value wins" picks the chosen summary; a tie is half right."""
    return float(np.mean(np.heaviside(np.subtract(chosen, rejected, dtype=np.float64), 0.5)))


def accuracy_by(values: Sequence[float], right: Sequence[bool], bins: int = 4) -> list[dict[str, Any]]:
    """Return the share of `right` (N,) among pairs of like `values` (N,): `low`, `high`, `pairs`, `accuracy`.

    Bins part the values at their quantiles and hold about N/`bins` pairs each; equal values stay together. `low` and
    `high` are the least and the largest value in the bin.
    """
    x, hit = np.asarray(values, dtype=np.float64), np.asarray(right, dtype=np.float64)
    inner = np.unique(np.quantile(x, np.arange(1, bins) / bins, method="inverted_cdf"))
    number = np.searchsorted(inner, x)
    found = []
    for b in np.unique(number):
        inside = number == b
        low, high = x[inside].min().item(), x[inside].max().item()
        found.append(
            {"low": low, "high": high, "pairs": int(inside.sum()), "accuracy": float(hit[inside].mean().item())}
        )
    return found


def within_pair_correlation(scores: Sequence[float], feature: Sequence[float]) -> float | None:
    """Return Pearson's correlation of score and feature among the 2N summaries, each less the mean of its pair.

    `scores` and `feature` (N,) are the differences within the pairs, d and f:

        Σ d·f / √(Σ d² · Σ f²)

    What differs between posts is taken out, and it does not matter which summary of a pair comes first. None where
    either never differs.
    """
    d, f = np.asarray(scores, dtype=np.float64), np.asarray(feature, dtype=np.float64)
    norm = np.sqrt((d @ d) * (f @ f))
    return float(d @ f / norm) if norm > 0 else None


def within_post_spread(scores: Sequence[Sequence[float]]) -> float:
    """Return the mean over posts of the standard deviation of the scores of several summaries of one post (P, S ≥ 2).

    The gradient of a policy comes from these differences alone (Razin et al. 2025, arXiv 2503.15477).
    """
    return float(np.std(np.asarray(scores, dtype=np.float64), axis=1, ddof=1).mean())
