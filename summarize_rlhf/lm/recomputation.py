"""Gradient checkpointing: the activations of trained blocks are recomputed in the backward pass instead of kept."""

import functools

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from summarize_rlhf import UserError


def recompute_blocks(model: nn.Module, on: bool = True) -> list[nn.Module]:
    """Switch gradient checkpointing of the blocks of `model` that have something to train; return these blocks.

    Frozen blocks below them keep no activations anyway. A block recomputes where it is in training mode.
    """
    blocks = [
        block
        for block in model.modules()
        if isinstance(block, GradientCheckpointingLayer) and any(p.requires_grad for p in block.parameters())
    ]
    for block in blocks:
        block._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)
        block.gradient_checkpointing = on
    return blocks


def require_recomputation(model: nn.Module, kind: str) -> None:
    """Switch it on. Raises `UserError` for a family (`kind`) whose blocks cannot."""
    if not recompute_blocks(model):
        raise UserError(
            f"a {kind!r} model has no blocks that transformers can checkpoint: use --gradient_checkpointing False"
        )
