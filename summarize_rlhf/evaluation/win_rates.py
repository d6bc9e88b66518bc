"""How often one model's summary beats another's on the same post, by a score or a judge; raw and length-controlled.

Shapes: N posts, K samples of each. A tie counts ½. `wins` (N, P) are the outcomes of each post's P pairs of samples, in
[0, 1]: the P outcomes of a post are a cluster.
"""

from typing import Any

import numpy as np
from scipy.special import expit

from summarize_rlhf.evaluation.estimates import Estimate, bootstrapped, per_post, rate

FIT_RESAMPLES = 1000
STEPS = 30  # of Newton, of which a handful is needed
LONGEST_STEP = 2.0  # of a coefficient, in log-odds
OVERLAP = 2  # posts on either side of equal length, below which there is no fit
NEAR = 0.1  # raw and length-controlled win rates that differ by more get a warning


def pairs(first: Any, second: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pair each sample of a post by `first` (N, K) with each by `second` (N, L): two arrays (N, K·L)."""
    a, b = (np.asarray(x, dtype=np.float64).reshape(len(x), -1) for x in (first, second))
    return np.repeat(a, b.shape[1], axis=1), np.tile(b, (1, a.shape[1]))


def wins(first: Any, second: Any) -> np.ndarray:
    """Return 1 where a score of `first` (N, K) is above one of `second` (N, L), ½ where they tie, else 0: (N, K·L)."""
    a, b = pairs(first, second)
    return np.heaviside(a - b, 0.5)


def win_rate(outcomes: Any) -> Estimate:
    """Estimate the share of `wins` (N, P), with Wilson's interval over posts."""
    return rate(outcomes)


def length_controlled(outcomes: Any, longer: Any, resamples: int = FIT_RESAMPLES) -> Estimate | None:
    """Estimate the win rate that would have been, had both summaries been of the same length.

    AlpacaEval 2's model (Dubois et al. 2024, arXiv 2404.04475) without its term for the difficulty of an
    instruction, which needs the outcomes of many models:

        P(first wins) = sigmoid(θ + φ·tanh(Δ / std(Δ)))          win rate: sigmoid(θ)

    `outcomes` (N, P) are `wins`; Δ, `longer` (N, P), is the length of the first summary less that of the second, in any
    unit. Each resample of posts is fitted anew, standard deviation included: the error of the predictions alone would
    leave out that θ and φ are estimates. Where all outcomes agree, resamples do as well: the interval is then that of
    the raw win rate on those posts alone where the first is no longer, or no shorter, whichever are fewer. (Length
    works one way: what is won in spite of it would be won without it.) None where one model is longer on all posts but
    one: nothing is known of equal length then.
    """
    y, delta = (np.asarray(x, dtype=np.float64).reshape(len(x), -1) for x in (outcomes, longer))
    fewer = min(per_post(delta) <= 0, per_post(delta) >= 0, key=np.sum)
    if fewer.sum() < OVERLAP:
        return None
    if np.ptp(per_post(y)) < 1e-9:
        raw = win_rate(y[fewer])
        return {"value": float(equal_length(y[None], delta[None])[0]), "low": raw["low"], "high": raw["high"]}
    return bootstrapped(len(y), lambda drawn: equal_length(y[drawn], delta[drawn]), resamples)


def equal_length(outcomes: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """Return sigmoid(θ) (R,) of the model fitted to each of R resamples: outcomes and Δ (R, N, P)."""
    y, delta = (x.reshape(len(x), -1) for x in (outcomes, longer))
    spread = delta.std(1, keepdims=True)
    x = np.tanh(np.divide(delta, spread, out=np.zeros_like(delta), where=spread > 0))
    return expit(fit(x, y)[0])


def fit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit y ~ sigmoid(θ + φ·x) to each row of x and y (R, M) by Firth's penalised likelihood; return θ and φ (R,).

    Where length or nothing at all separates wins from losses, the likelihood has no finite maximum. Firth's penalty
    (1993; Heinze and Schemper 2002), half the log determinant of the information, gives one, and less bias elsewhere:

        score:  Σ (y − p + h·(½ − p))·(1, x) = 0          h: leverages

    Of M outcomes without differences in length the win rate is (wins + ½)/(M + 1). φ is 0 where x does not vary.
    """
    theta, phi = np.zeros(len(x)), np.zeros(len(x))
    for _ in range(STEPS):
        p = expit(theta[:, None] + phi[:, None] * x)
        w = p * (1 - p)
        a, b, c = w.sum(1), (w * x).sum(1), (w * x * x).sum(1)  # the information [[a, b], [b, c]]
        determinant = a * c - b * b
        flat = determinant <= 1e-9 * a * a  # x does not vary: of θ alone
        determinant = np.where(flat, 1.0, determinant)
        top, side, low = (np.where(flat, 1 / a, c / determinant), np.where(flat, 0.0, -b / determinant),
                          np.where(flat, 0.0, a / determinant))  # fmt: skip
        leverage = w * (top[:, None] + 2 * side[:, None] * x + low[:, None] * x * x)
        rest = y - p + leverage * (0.5 - p)
        s, t = rest.sum(1), (rest * x).sum(1)
        steps = [np.clip(top * s + side * t, -LONGEST_STEP, LONGEST_STEP),
                 np.clip(side * s + low * t, -LONGEST_STEP, LONGEST_STEP)]  # fmt: skip
        theta, phi = theta + steps[0], phi + steps[1]
        if max(np.abs(steps[0]).max(), np.abs(steps[1]).max()) < 1e-9:
            break
    return theta, phi


def warning(raw: Estimate, controlled: Estimate | None, posts: int) -> str | None:
    """Return a sentence where length accounts for more than 10 points of the win rate, or cannot be told; else None.

    The raw win rate is compared as the fit without lengths would have it: what the penalty alone moves is not length's.
    """
    if controlled is None:
        return (
            f"fewer than {OVERLAP} posts lie on one side of equal length: the win rate at equal length cannot be told"
        )
    apart = (posts * raw["value"] + 0.5) / (posts + 1) - controlled["value"]
    if abs(apart) <= NEAR:
        return None
    return (
        f"the win rate of {100 * raw['value']:.0f} % would be {100 * controlled['value']:.0f} % at equal length: "
        f"the length of the summaries accounts for {abs(apart) * 100:.0f} points"
    )
