"""Compute the last block only from token `keep_from` on, where its output is read.

PPO reads the states of a response, the reward model those of a summary, both at the end of a long post. In every block
but the last the post's tokens matter, for the next block attends to them. In the last block only their keys and values
do: attention output and MLP, most of a block, are computed for the tokens from `keep_from` on (cf. `logits_to_keep`).

No block is written again: it is copied shallowly, its attention and its MLP are wrapped, and torch's fused attention,
registered under a name of its own (`ATTENTION`), leaves queries out. Any other attention that a model was loaded with,
such as transformers' "sdpa", computes all of them, and only the MLP is spared.

Shapes: B batch, T tokens, H hidden, N heads, D head size, S = keep_from in tokens from the left.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "sdpa_keep_from"  # contains "sdpa": transformers then checks that the family supports it
_keep_from: ContextVar[int] = ContextVar("keep_from of this call", default=0)
_first_query: ContextVar[int] = ContextVar("keep_from, within the last block's attention", default=0)


def use_keep_from(model: PreTrainedModel) -> None:
    """Give a model with transformers' "sdpa" the attention of this file; other attentions stay as they are.

    Adds `ATTENTION` to transformers' registries. No entry of theirs is replaced, and no config.json records it.
    """
    AttentionInterface.register(ATTENTION, sdpa_keep_from)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(ATTENTION)


def has_keep_from(model: PreTrainedModel) -> bool:
    """Whether a model's attention can leave queries out."""
    return model.config._attn_implementation == ATTENTION


@contextlib.contextmanager
def _set(variable: ContextVar[int], value: int) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def keeping_from(keep_from: int) -> contextlib.AbstractContextManager[None]:
    """Within it, blocks with the children of `kept_children` compute from this token on."""
    return _set(_keep_from, keep_from)


class _KeptAttention(nn.Module):
    """An attention module whose output from `keep_from` on is asked for; (B, S, H) before it is zero or a constant."""

    def __init__(self, attention: nn.Module):
        super().__init__()
        self.inner = attention

    def forward(self, *args, **kwargs):
        with _set(_first_query, _keep_from.get()):
            return self.inner(*args, **kwargs)


class _KeptMLP(nn.Module):
    """An MLP on the tokens from `keep_from` on; zeros (B, S, H) before it."""

    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.inner = mlp

    def forward(self, hidden: Tensor) -> Tensor:  # (B, T, H)
        start = _keep_from.get()
        return pad(self.inner(hidden[:, start:].contiguous()), (0, 0, start, 0))


def kept_children(block: nn.Module, attention: str, mlp: str | None) -> dict[str, nn.Module]:
    """Return children for a shallow copy of the last block, by name; without a name for the MLP it runs for all."""
    children: dict[str, nn.Module] = {attention: _KeptAttention(block.get_submodule(attention))}
    if mlp is not None:
        children[mlp] = _KeptMLP(block.get_submodule(mlp))
    return children


def checkpoint_kept(checkpoint: Callable, function: Callable, *args, **kwargs):
    """Checkpoint the last block so that its recomputation, in the backward pass, has the forward pass's `keep_from`."""
    return checkpoint(functools.partial(_run_keeping, _keep_from.get(), function), *args, **kwargs)


def _run_keeping(keep_from: int, function: Callable, *args, **kwargs):
    with keeping_from(keep_from):
        return function(*args, **kwargs)


def sdpa_keep_from(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs
) -> tuple[Tensor, None]:
    """Compute transformers' "sdpa" (B, N, T, D) -> (B, T, N, D), without the queries before `keep_from`.

    A mask may have fewer rows than there are queries: it is then about the last ones, and those before see what
    precedes them, which needs no mask and half the work. The output of queries that are left out is zero.
    """
    queries = query.shape[2]
    if queries == 1:  # of a decode step, which leaves none out; torch.compile cannot follow a context variable
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    start = _first_query.get()
    unmasked = 0 if attention_mask is None else queries - attention_mask.shape[2]  # queries without a row in the mask
    if start == 0 and unmasked <= 0:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if attention_mask is None:
        position = torch.arange(queries, device=query.device)
        attention_mask = (position[start:, None] >= position)[None, None]  # (1, 1, T - S, T)
    outputs = []
    if unmasked > start:  # causal queries before those that the mask is about, all of them wanted
        beginning = (x[:, :, :unmasked] for x in (query, key, value))
        outputs.append(sdpa_attention_forward(module, *beginning, None, **kwargs)[0])
        start = unmasked
    rows = attention_mask[:, :, -(queries - start) :]
    outputs.append(sdpa_attention_forward(module, query[:, :, start:], key, value, rows, **kwargs)[0])
    output = torch.cat(outputs, 1)
    return pad(output, (0, 0, 0, 0, queries - output.shape[1], 0)), None
