"""A figure with its 95 % interval over posts: {"value": x, "low": x, "high": x}.

Shapes: N posts, K samples of each: arrays (N,) or (N, K). Posts are what is drawn from something larger, so the samples
of a post are a cluster and count as one value, their mean. Of one post there is no interval: `low` and `high` are None.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from summarize_rlhf.intervals import accuracy

CONFIDENCE = 0.95
RESAMPLES = 4000
FEW = 8  # posts, below which resamples are too few different ones for an interval of 95 %
AT_ONCE = 2_000_000  # numbers that a batch of resamples may hold

Estimate = dict[str, float | None]


def per_post(values: Any) -> np.ndarray:
    """Return the mean of each post's samples (N,), fp64, of values (N,) or (N, K)."""
    x = np.asarray(values, dtype=np.float64)
    return x.reshape(len(x), -1).mean(1)


def level(posts: int) -> float:
    """Return the level at which a percentile interval over so few posts covers 95 %.

    A bootstrap's spread is √((n − 1)/n) of the standard error, and its quantiles are those of a normal distribution:
    both make intervals of small samples too short. The expanded percentile interval (Hesterberg 2015, arXiv 1411.5279)
    takes its quantiles at Φ(±√(n/(n − 1))·t(.975, n − 1)) instead: the level is .952 for 200 posts, .960 for 40.
    """
    reach = math.sqrt(posts / (posts - 1)) * stats.t.ppf((1 + CONFIDENCE) / 2, posts - 1)
    return 1 - 2 * stats.norm.cdf(-reach).item()


def bootstrapped(posts: int, statistic: Callable[[np.ndarray], np.ndarray], resamples: int = RESAMPLES) -> Estimate:
    """Estimate a statistic of the posts by scipy's bootstrap, expanded as in `level`.

    `statistic` takes the numbers of the posts drawn, in rows (R, N), and returns its value for each row (R,).
    """
    value = float(statistic(np.arange(posts)[None])[0])
    if posts == 1:
        return {"value": value, "low": None, "high": None}
    found = stats.bootstrap(
        (np.arange(posts),),
        lambda drawn, axis: statistic(drawn.reshape(-1, posts)).reshape(drawn.shape[:-1]),
        n_resamples=resamples,
        batch=max(1, AT_ONCE // posts),
        vectorized=True,
        confidence_level=level(posts),
        method="percentile",
        rng=0,
    ).confidence_interval
    return {"value": value, "low": float(found.low), "high": float(found.high)}


def mean(values: Any, resamples: int = RESAMPLES) -> Estimate:
    """Estimate the mean of values (N,) or (N, K) over posts. Of differences on the same posts it is the paired test.

    By the bootstrap; of fewer than `FEW` posts by Student's interval. (Of two posts a bootstrap's is never longer than
    from the one to the other, and holds the mean every other time.)
    """
    x = per_post(values)
    if 1 < len(x) < FEW:
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 1).item() * x.std(ddof=1).item() / math.sqrt(len(x))
        return {"value": x.mean().item(), "low": x.mean().item() - reach, "high": x.mean().item() + reach}
    return bootstrapped(len(x), lambda drawn: x[drawn].mean(-1), resamples)


def rate(values: Any) -> Estimate:
    """Estimate a share (N,) or (N, K) of values from 0 to 1, by Wilson's interval for clusters (`intervals.accuracy`).

    It stays within 0 and 1 and has a width where all values agree, at which a bootstrap would be certain.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x.reshape(len(x), -1)
    found = accuracy(x.ravel().tolist(), np.arange(len(x)).repeat(x.shape[1]).tolist())
    return {"value": found["accuracy"], "low": found["accuracy_low"], "high": found["accuracy_high"]}
