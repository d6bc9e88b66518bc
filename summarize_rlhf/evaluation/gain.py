"""Why the reward rose: what longer summaries explain of it, what copying explains, and the rest.

Two models wrote a summary of each of N posts. On the differences of a post, second model to first,

    Δreward = rest + b·Δlength + c·Δcopying + error

is fitted by least squares; the mean gain is then exactly ``b·mean(Δlength) + c·mean(Δcopying) + rest``. A post's own
level drops out, so a post that asks for a long summary explains nothing. (The decomposition of Oaxaca 1973 and Blinder
1973, on paired data; that length alone can be most of a gain is Singhal et al. 2023, arXiv 2310.03716.)
"""

from collections.abc import Mapping, Sequence

import numpy as np

from summarize_rlhf.evaluation.estimates import Estimate, bootstrapped, mean

LEAST_POSTS = 10  # for three coefficients; with fewer the parts are not told
PARTS = ("total", "length", "copying", "rest")


def gain(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], resamples: int = 2000
) -> dict[str, Estimate | None]:
    """Split the mean reward of `first` less that of `second`: "total", "length", "copying" and "rest".

    Both hold "reward", "tokens" and "copied_4grams", a number per post (N), of the same posts in the same order. Each
    part is an estimate in units of reward; each resample of posts is fitted anew, the same ones for all parts.
    "length" is what Δtokens explains beside Δcopying, and the other way round. What cannot be told apart, because a
    difference is the same at each post, stays in "rest". With fewer than `LEAST_POSTS` the parts are None.

    Raises `ValueError` where the posts are not as many everywhere, or a number is not finite.
    """
    columns = [_difference(first, second, name) for name in ("reward", "tokens", "copied_4grams")]
    if len({len(column) for column in columns}) != 1 or not len(columns[0]):
        raise ValueError(f"gain: reward, tokens and copied_4grams are of {[len(x) for x in columns]} posts")
    x = np.stack(columns, axis=1)  # (N, 3)
    if not np.isfinite(x).all():
        raise ValueError("gain: a reward, a number of tokens or a share of copied 4-grams is not finite")
    found: dict[str, Estimate | None] = dict.fromkeys(PARTS) | {"total": mean(x[:, 0], resamples)}
    if len(x) < LEAST_POSTS:
        return found

    def part(number: int) -> Estimate:
        return bootstrapped(len(x), lambda drawn: np.array([split(x[rows])[number] for rows in drawn]), resamples)

    return found | {name: part(number) for number, name in enumerate(PARTS) if number}


def split(differences: np.ndarray) -> np.ndarray:
    """Return total, length, copying and rest (4,) of the differences (N, 3) in reward, length and copying."""
    mean, spread = differences.mean(0), differences.std(0)
    spread[spread < 1e-9 * (1 + abs(mean))] = np.inf  # what does not vary explains nothing
    centred = differences - mean
    slopes, *_ = np.linalg.lstsq(centred[:, 1:] / spread[1:], centred[:, 0], rcond=1e-9)  # per standard deviation
    length, copying = slopes * mean[1:] / spread[1:]
    return np.array([mean[0], length, copying, mean[0] - length - copying])


def _difference(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], name: str) -> np.ndarray:
    ours, theirs = np.asarray(first[name], dtype=np.float64), np.asarray(second[name], dtype=np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1:
        raise ValueError(f"gain: {name} is of {ours.shape} posts in the first and {theirs.shape} in the second")
    return ours - theirs
