"""What a check answers, and the arithmetic that several checks share."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from summarize_rlhf.doctor.evidence import Point

BROKEN, SUSPECT, HEALTHY = "broken", "suspect", "healthy"
# A `late_fall` of 0.2: of a fall like exp(-k · way) a quarter still lies ahead (k = 1.35). A straight line has 1/3.
STILL_FALLING = 0.2

# Of ‖θ₀‖, between θ and θ₀. Fine-tuning moves a model of billions of weights by a few hundredths; beyond one half, what
# the model knew is mostly overwritten, and the run is a training from scratch.
OVERWRITTEN = 0.5


class Finding(NamedTuple):
    """A cause that the evidence speaks for. `broken`: the next stage, or the result, is worth nothing with it."""

    status: str
    cause: str  # a slug, the same in every version
    evidence: str  # one sentence with figures
    next: str  # a command, or a change


def standard_error(share: float, count: int) -> float:
    """Return the standard error of a share among `count` cases; that of 0 or 1 as if half a case differed."""
    share = min(max(share, 0.5 / count), 1 - 0.5 / count)
    return math.sqrt(share * (1 - share) / count)


def late_fall(points: Sequence[Point], start: float) -> float | None:
    """Return which share of a loss's whole fall from `start` fell in the last third of the way.

    The way is that of learning rates summed, so that a schedule that ends at 0 does not make a curve look flat. None
    for fewer than 3 points, for points that leave the last third open, and for a loss that did not fall.
    """
    if len(points) < 3 or not points[0].way <= 2 / 3 < points[-1].way or points[-1].loss >= start:
        return None
    before = max((p for p in points if p.way <= 2 / 3), key=lambda p: p.way)
    after = min((p for p in points if p.way > 2 / 3), key=lambda p: p.way)
    part = (2 / 3 - before.way) / (after.way - before.way)
    at_two_thirds = before.loss + part * (after.loss - before.loss)
    return min((at_two_thirds - points[-1].loss) / (start - points[-1].loss), 1.0)
