"""What a check answers, and the arithmetic that several checks share."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from summarize_rlhf.doctor.evidence import Training

BROKEN, SUSPECT, HEALTHY = "broken", "suspect", "healthy"


class Finding(NamedTuple):
    """A cause that the evidence speaks for. `broken`: the next stage, or the result, is worth nothing with it."""

    status: str
    cause: str  # a slug, the same in every version
    evidence: str  # one sentence with figures
    next: str  # a command, or a change


def standard_error(share: float, count: int) -> float:
    """Return the standard error of a share among `count` independent cases."""
    return math.sqrt(max(share * (1 - share), 0.25 / count) / count)


def still_falling(training: Training, losses: Sequence[float] | None = None) -> float | None:
    """Return how fast the loss fell in the last third of the way, over its mean speed on the whole way.

    The way is the sum of learning rates, so that a schedule that ends at 0 does not make a curve look flat. A loss that
    falls like exp(-k · way) and has come within 5 % of its end (k = 3) gives 0.26, one on a straight line 1. None for a
    curve of fewer than 9 lines, or one that did not fall.
    """
    losses = training.losses if losses is None else losses
    rates = training.rates
    if len(losses) < 9 or len(losses) != len(rates):
        return None
    way = [sum(rates[: i + 1]) for i in range(len(rates))]
    first, last = [i for i, x in enumerate(way) if x <= way[-1] / 3], [i for i, x in enumerate(way) if x > way[-1] * 2 / 3]
    if len(last) < 3 or not first:
        return None
    whole = slope(way, losses)
    return slope([way[i] for i in last], [losses[i] for i in last]) / whole if whole < 0 else None


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the slope of the least-squares line through (x, y)."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    below = sum((a - mean_x) ** 2 for a in x)
    return above / below if below else 0.0
