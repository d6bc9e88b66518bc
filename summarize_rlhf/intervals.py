"""Standard errors and 95 % intervals, for posts alone and for several seeds on the same posts.

Differences between two models are arrays (S, N): S seeds, each with models of its own, N posts that all seeds share.
Rows and columns are both drawn from something larger, so both must count: an interval over posts alone says nothing
about the next seed.
"""

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
from scipy import stats

Interval = dict[str, float]


def bootstrap(differences: Sequence[Sequence[float]], samples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of `differences` (S, N) and its 95 % percentile interval: keys `mean`, `low`, `high`.

    Each replicate draws S seeds and N posts with replacement and takes every drawn seed at every drawn post: the
    pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap"), which errs to the wide side where single cells are
    noisy. With one seed it is the ordinary bootstrap over posts. A replicate can be no more extreme than the most
    extreme seed: where seeds differ more than posts do, the truth lies between three of them three times in four at
    most. So with few seeds its share of the interval is rough, and `t_interval` is to be read beside it. scipy's
    bootstrap draws along one axis only.
    """
    x = np.asarray(differences, dtype=np.float64)
    rng = np.random.default_rng(seed)
    seeds, posts = x.shape
    means = [x[np.ix_(rng.integers(seeds, size=seeds), rng.integers(posts, size=posts))].mean() for _ in range(samples)]
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return {"mean": x.mean().item(), "low": low, "high": high}


def paired_bootstrap(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Bootstrap ours − theirs over posts; the two are paired row by row (Efron and Tibshirani 1993, 13.3).

    Returns the mean and its 95 % percentile interval: keys `mean`, `low`, `high`; of one post, the mean alone.
    """
    x = np.asarray([a - b for a, b in zip(ours, theirs, strict=True)], dtype=np.float64)
    mean = x.mean().item()
    if len(x) == 1:
        return {"mean": mean, "low": mean, "high": mean}
    found = stats.bootstrap((x,), np.mean, n_resamples=2000, method="percentile", rng=0).confidence_interval
    return {"mean": mean, "low": float(found.low), "high": float(found.high)}


def t_interval(differences: Sequence[Sequence[float]]) -> Interval:
    """Return the mean of `differences` (S, N) and its 95 % interval for few seeds: `mean`, `se`, `df`, `low`, `high`.

        se² = s²(means of the seeds)/S + s²(means of the posts)/N          mean ± t(.975, df)·se

    with Welch and Satterthwaite's degrees of freedom; near S − 1 where seeds differ most, so three seeds are
    multiplied by up to 4.3. Both terms hold the noise of single cells, which is counted twice: it errs to the wide side
    by that. With one seed, the interval over posts alone.
    """
    x = np.asarray(differences, dtype=np.float64)
    terms = [(means.var(ddof=1) / len(means), len(means) - 1) for means in (x.mean(1), x.mean(0)) if len(means) > 1]
    variance = sum(term for term, _ in terms) if terms else math.nan  # one value says nothing of its spread
    df = variance**2 / sum(term**2 / freedom for term, freedom in terms) if variance > 0 else 1.0
    mean, se = x.mean().item(), math.sqrt(variance)
    reach = stats.t.ppf(0.975, df).item() * se
    return {"mean": mean, "se": se, "df": float(df), "low": mean - reach, "high": mean + reach}


def accuracy(right: Sequence[bool], posts: Sequence[Hashable]) -> dict[str, float]:
    """Return the share of `right`, standard error and 95 % interval: `accuracy`, `accuracy_se`, `…_low`, `…_high`.

    Answers on one post are alike, so `posts` are counted as drawn, not pairs (Liang and Zeger 1986):

        se = √(Σ_post (Σ_pair of the post (right − accuracy))²) / n

    which is √(p(1 − p)/n) where each post comes once. The interval is Wilson's (1927), for as many independent answers
    as would have this standard error (`independent`); it stays within 0 and 1.
    """
    share = sum(right) / len(right)
    sums: dict[Hashable, float] = {}
    for post, hit in zip(posts, right, strict=True):
        sums[post] = sums.get(post, 0.0) + hit - share
    se = math.sqrt(sum(total**2 for total in sums.values())) / len(right)
    n = independent(share, se, len(sums), len(right))
    z = NormalDist().inv_cdf(0.975)
    centre, reach = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + sign * reach) / (1 + z**2 / n) for sign in (-1, 1))
    low, high = max(0.0, min(low, share)), min(1.0, max(high, share))  # rounding leaves no share outside
    return {"accuracy": share, "accuracy_se": se, "accuracy_low": low, "accuracy_high": high}


def independent(share: float, se: float, posts: int, answers: int) -> float:
    """Return how many independent answers would have the standard error `se` that `answers` on `posts` have.

    That is p(1 − p)/se². A few posts that happen to agree say little of how posts differ, so what this is above their
    number counts less: by the factor (t(.975, answers − 1)/t(.975, posts − 1))² of Korn and Graubard (1998), and by
    the unbiased variance's. Both are 1 where each post comes once. Where all posts agree, as many as there are posts.
    """
    if se < 1e-9 or posts == 1:  # rounding is no spread
        return posts
    n = share * (1 - share) / se**2
    few = (stats.t.ppf(0.975, answers - 1) / stats.t.ppf(0.975, posts - 1)).item() ** 2
    few *= (posts - 1) / posts * answers / (answers - 1)
    return max(min(n, posts), few * n)


def mean_and_se(xs: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard error of the mean of independent `xs`; the error is NaN for one value."""
    x = np.asarray(xs, dtype=np.float64)
    return x.mean().item(), (x.std(ddof=1) / math.sqrt(len(x))).item() if len(x) > 1 else math.nan
