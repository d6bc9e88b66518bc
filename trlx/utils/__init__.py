"""What scripts written for trlX import from here."""

import math
import random
import time

import numpy as np
import torch


def set_seed(seed: int, rank_offset: bool = True) -> None:
    """Seed Python, NumPy and torch; with `rank_offset` each process by `seed` plus its rank, as trlX did.

    A training needs none of it: its numbers belong to `train.seed`.
    """
    if rank_offset and torch.distributed.is_available() and torch.distributed.is_initialized():
        seed += torch.distributed.get_rank()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def significant(x: float, ndigits: int = 2) -> float:
    """Round a number to its first `ndigits` digits."""
    x = float(x)
    if x == 0 or not math.isfinite(x):
        return x
    return round(x, ndigits - 1 - math.floor(math.log10(abs(x))))


class Clock:
    """Measure how long samples take: `tick(n)` after n of them returns the seconds since the tick before."""

    def __init__(self):
        self.last = time.time()
        self.seconds, self.samples = 0.0, 0

    def tick(self, samples: int = 0) -> float:
        now = time.time()
        passed, self.last = now - self.last, now
        if samples:
            self.seconds += passed
            self.samples += samples
        return passed

    def get_stat(self, n_samp: int = 1000, reset: bool = False) -> float:
        """Return the mean seconds of `n_samp` samples; NaN before the first."""
        mean = self.seconds * n_samp / self.samples if self.samples else math.nan
        if reset:
            self.seconds, self.samples = 0.0, 0
        return mean
