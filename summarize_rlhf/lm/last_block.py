"""The last block, computed only where its output is asked for.

PPO reads the states of a response, the reward model those of a summary, at the end of a long post. In every block but
the last the post's tokens matter, for the next block attends to them. In the last one only their keys and values do. So
there attention and MLP, most of a block, run for the tokens from `keep_from` on alone.

Nothing of a block is written again: it is copied shallowly, its attention and its MLP are wrapped, and torch's fused
attention, under the name by which transformers knows it, learns to leave queries out.

Shapes: B batch, T tokens, H hidden, N heads, D head size; S is the start of the keep_from, in tokens from the left.
"""

import contextlib
import copy
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

_start: ContextVar[int] = ContextVar("start of the keep_from", default=0)


class _TailAttention(nn.Module):
    """An attention module, asked for the keep_from's output alone; (B, S, H) before it is zero or a constant."""

    def __init__(self, attention: nn.Module, start: int):
        super().__init__()
        self.attention, self.start = attention, start

    def forward(self, *args, **kwargs):
        with _tail(self.start):
            return self.attention(*args, **kwargs)


class _TailMLP(nn.Module):
    """An MLP on the keep_from alone; zeros (B, S, H) before it."""

    def __init__(self, mlp: nn.Module, start: int):
        super().__init__()
        self.mlp, self.start = mlp, start

    def forward(self, hidden: Tensor) -> Tensor:  # (B, T, H)
        return pad(self.mlp(hidden[:, self.start :].contiguous()), (0, 0, self.start, 0))


@contextlib.contextmanager
def _tail(start: int) -> Iterator[None]:
    token = _start.set(start)
    try:
        yield
    finally:
        _start.reset(token)


def keep_last_block_from(block: nn.Module, attention: str, mlp: str | None, start: int) -> nn.Module:
    """A shallow copy of `block` whose output means something from token `start` on, where it is the block's own.

    `attention` and `mlp` are the names of its parts; without a name for the MLP that runs whole.
    """
    parts = {attention: _TailAttention(block.get_submodule(attention), start)}
    if mlp is not None:
        parts[mlp] = _TailMLP(block.get_submodule(mlp), start)
    changed = copy.copy(block)
    changed._modules = {**block._modules, **parts}
    return changed


def sdpa(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs):
    """transformers' "sdpa" (B, N, T, D) -> (B, T, N, D), without what nobody asked for.

    A mask may have fewer rows than there are queries: it is then about the last ones, and those before see what
    precedes them, which needs no mask and half the work. Queries before the start of the keep_from are left out: their
    output is zero.
    """
    queries, start = query.shape[2], _start.get()
    unmasked = 0 if attention_mask is None else queries - attention_mask.shape[2]  # queries without a row in the mask
    if start == 0 and unmasked <= 0:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if attention_mask is None:
        position = torch.arange(queries, device=query.device)
        attention_mask = (position[start:, None] >= position)[None, None]  # (1, 1, T - S, T)
    parts = []
    if unmasked > start:  # a masked keep_from behind a causal beginning, all of it wanted
        head = (x[:, :, :unmasked] for x in (query, key, value))
        parts.append(sdpa_attention_forward(module, *head, None, **kwargs)[0])
        start = unmasked
    rows = attention_mask[:, :, -(queries - start) :]
    parts.append(sdpa_attention_forward(module, query[:, :, start:], key, value, rows, **kwargs)[0])
    output = torch.cat(parts, 1)
    return pad(output, (0, 0, 0, 0, queries - output.shape[1], 0)), None


AttentionInterface.register("sdpa", sdpa)
