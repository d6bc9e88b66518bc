"""The keys and values of rows that are decoded together, in memory that is allocated once.

Each row is written at its own length, so that no row needs padding on the left:

    prompts [5, 7, 9] and [8], room for 3 more tokens, after two decode steps (`.` is unused room):

    row 0:  5  7  9  a1 a2 .       lengths  5
    row 1:  8  b1 b2 .  .  .       lengths  3

Shapes: B rows, N heads, D head size, Q tokens of the longest prompt.
"""

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class Positions:
    """Where the rows stand: what all layers of a cache share."""

    def __init__(self, lengths: Tensor, room: int):
        self.lengths = lengths  # (B) tokens that the model has read
        self.room = room  # tokens that a row may reach
        self.width = room  # columns of keys that a decode step sees
        self.prefilling: slice | None = None  # rows whose prompts are being read


class KVCache(Cache):
    """One `KVCacheLayer` per block, and the positions that they share."""

    def __init__(self, layers: int, positions: Positions):
        self.positions = positions
        super().__init__(layers=[KVCacheLayer(positions) for _ in range(layers)])

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        self.positions.lengths = self.positions.lengths[rows]
        for layer in self.layers:
            layer.keep(rows)


class KVCacheLayer(CacheLayerMixin):
    """One block's keys and values (B, N, room, D)."""

    def __init__(self, positions: Positions):
        super().__init__()
        self.positions = positions  # not the cache: keys and values are freed with it, without a cycle

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            x.new_zeros(len(self.positions.lengths), x.shape[1], self.positions.room, x.shape[3])
            for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Write new keys and values (B, N, Q or 1, D); return those that the queries see."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        at = self.positions
        if at.prefilling is not None:  # a prompt sees no keys but its own, which are all here
            self.keys[at.prefilling, :, : key_states.shape[2]] = key_states
            self.values[at.prefilling, :, : value_states.shape[2]] = value_states
            return key_states, value_states
        rows = torch.arange(len(at.lengths), device=key_states.device)
        self.keys[rows, :, at.lengths] = key_states[:, :, 0]
        self.values[rows, :, at.lengths] = value_states[:, :, 0]
        return self.keys[:, :, : at.width], self.values[:, :, : at.width]

    def keep(self, rows: Tensor) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]

    def get_seq_length(self) -> int:
        return 0 if self.positions.prefilling is not None else self.positions.width - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1
