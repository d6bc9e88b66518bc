"""Best-of-N: what choosing the best of N samples by the reward model gains, without any training.

All N come from one set of M samples of each post. Shapes: P posts, M samples.
"""

import math
from typing import Any

import numpy as np
from scipy.special import gammaln

from summarize_rlhf.evaluation.estimates import Estimate, mean


def weights(samples: int, n: int) -> np.ndarray:
    """Return each sample's chance (M,), from the worst to the best, to be the best of `n` drawn without replacement.

    For rank i, from 1, it is (i − 1 choose n − 1) / (M choose n).
    """
    if not 1 <= n <= samples:
        raise ValueError(f"best of {n} of {samples} samples")
    worse = np.arange(n - 1, samples)  # samples that are worse than the n-th of them and later ones
    chance = np.exp(log_choose(worse, n - 1) - log_choose(samples, n))
    return np.concatenate([np.zeros(n - 1), chance / chance.sum()])  # of rounding alone


def log_choose(n: Any, k: int) -> Any:
    """Return log (n choose k), which itself is beyond all numbers where n is above a thousand."""
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(np.subtract(n, k) + 1)


def expected(rewards: Any, n: int, values: Any | None = None) -> np.ndarray:
    """Return for each post the mean of `values` of the sample with the highest reward, over all draws of `n` (P,).

    The mean over the (M choose n) subsets is unbiased, and a U-statistic: no unbiased estimator varies less (pass@k of
    Chen et al. 2021, arXiv 2107.03374; best-of-n of Nakano et al. 2021, arXiv 2112.09332). `rewards` (P, M);
    `values` (P, M) are the rewards themselves, or what else the chosen samples have: the gold score. Samples with the
    same reward are chosen alike.
    """
    r = np.asarray(rewards, dtype=np.float64)
    v = r if values is None else np.asarray(values, dtype=np.float64)
    chance = weights(r.shape[1], n)
    order = r.argsort(1, kind="stable")
    r, v = np.take_along_axis(r, order, 1), np.take_along_axis(v, order, 1)
    return np.array([_even(row) @ chance for row in zip(r, v, strict=True)])


def _even(row: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the values of samples sorted by reward, each the mean of those with the same reward."""
    rewards, values = row
    _, group, count = np.unique(rewards, return_inverse=True, return_counts=True)
    return (np.bincount(group, values) / count)[group]


def kl_bound(n: int) -> float:
    """Return log n − (n − 1)/n, in nats: an upper bound of the KL of best-of-n to the policy that it samples.

    Close to the KL itself where each response is improbable and no two have the same reward; else the KL may be far
    below (Beirami et al. 2024, arXiv 2401.01879).
    """
    return math.log(n) - (n - 1) / n


def sizes(samples: int) -> list[int]:
    """Return 1, 2, 4 … up to `samples`, and that number itself."""
    return [*(2**i for i in range(samples.bit_length()) if 2**i < samples), samples]


def curve(rewards: Any, gold: Any | None = None) -> list[dict[str, Any]]:
    """Return `n`, `reward`, `kl_bound` and, where `gold` (P, M) is known, the `gold` of what the rewards choose."""
    points = []
    for n in sizes(np.shape(rewards)[1]):
        point: dict[str, int | float | Estimate] = {
            "n": n,
            "reward": mean(expected(rewards, n)),
            "kl_bound": kl_bound(n),
        }
        points.append(point if gold is None else point | {"gold": mean(expected(rewards, n, gold))})
    return points
