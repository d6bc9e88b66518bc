"""The order of training rows: random, but with rows of like length in a batch."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class LengthGroupedSampler(Sampler[int]):
    """Draw a random order in which neighbours have about the same length, so that a batch holds little padding.

    The order depends on seed and epoch only: all processes draw the same one, and a resumed run the one that it had.
    Rows are shuffled and sorted by length within chunks of `chunk` batches, then the batches are shuffled; one with the
    longest row comes first, so that running out of memory shows at once.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int, chunk: int = 16):
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.chunk = chunk
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self), generator=generator)
        ordered = [
            rows[torch.tensor(self.lengths)[rows].argsort(stable=True)]
            for rows in order.split(self.batch_size * self.chunk)
        ]
        batches = torch.cat(ordered).split(self.batch_size)
        full = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]  # the last one, which stays last
        shuffled = [full[i] for i in torch.randperm(len(full), generator=generator).tolist()]
        if shuffled:
            longest = max(range(len(shuffled)), key=lambda i: self.lengths[int(shuffled[i][-1])])
            shuffled.insert(0, shuffled.pop(longest))
        return iter(torch.cat([*shuffled, *rest]).tolist())
