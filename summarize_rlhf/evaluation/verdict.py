"""The verdict of a comparison on the same posts, and what so many posts could have shown."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from summarize_rlhf.evaluation.estimates import CONFIDENCE, Estimate, per_post

POWER = 0.8  # with which an effect is to be detected
# Posts that are no ties. (z(.975) + z(.8))² = 7.8: fewer detect nothing, not even a win on each.
LEAST_POSTS = 8


def verdict(win_rate: Estimate, outcomes: Any) -> str:
    """Return "better" where the whole interval of a win rate is above ½, "worse" where below, else "undecided".

    Undecided, too, where fewer than `LEAST_POSTS` of the `outcomes` (N, P) are no ties.
    """
    if np.sum(np.abs(per_post(outcomes) - 0.5) > 1e-9) < LEAST_POSTS:
        return "undecided"
    low, high = win_rate["low"], win_rate["high"]
    if low is not None and low > 0.5:
        return "better"
    return "worse" if high is not None and high < 0.5 else "undecided"


def detectable(outcomes: Any) -> float:
    """Return the distance of a true win rate from ½ that as many posts would detect four times in five: ± x, at most ½.

        (z(.975) + z(.8))·s / √N          s: root mean square distance of a post's outcome (N, P) from ½

    where `s` is the standard deviation if neither were better. "Undecided" says no more than that the difference is
    probably within this. (The minimal detectable effect; for evaluations of models: Miller 2024, arXiv 2411.00640.)
    """
    x = per_post(outcomes) - 0.5
    spread = float(np.sqrt(np.mean(x**2))) or 0.5  # all ties say nothing of the spread: the widest
    normal = NormalDist()
    return min(0.5, (normal.inv_cdf((1 + CONFIDENCE) / 2) + normal.inv_cdf(POWER)) * spread / math.sqrt(len(x)))


def power_of(outcomes: Any) -> str:
    """Return "200 posts would detect ± 10 points": what `detectable` says."""
    found, posts = detectable(outcomes), len(outcomes)
    if found >= 0.5:
        return f"{posts} {'posts are' if posts > 1 else 'post is'} too few to detect any difference"
    return f"{posts} posts would detect ± {100 * found:.0f} points"
