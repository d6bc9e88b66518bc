"""What is computed of logits, V numbers a token, for some tokens at a time: those of a batch are never all there.

Shapes: N tokens, H hidden, V vocabulary.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from summarize_rlhf.run.zero3 import is_spread, max_over_processes

LOGITS_AT_ONCE = 2**26  # numbers; if there are more, they are recomputed in the backward pass instead of kept


def in_pieces(
    model: PreTrainedModel, function: Callable[[Tensor, Tensor], Tensor], states: Tensor, targets: Tensor
) -> Tensor:
    """Return `function(states, targets)`, for some tokens at a time where all have more than `LOGITS_AT_ONCE` logits.

    `function` makes logits of hidden `states` (N, H) by `model`'s head, and of these and `targets` (N) something for
    each token (N, …). All processes call this.
    """
    step = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    # Under ZeRO-3 a pass of the head is a collective: all processes make equally many, some perhaps of no token.
    most = max_over_processes(len(targets), targets.device) if is_spread(model) else len(targets)
    if most <= step:
        return function(states, targets)
    count = math.ceil(most / step)
    pieces = zip(states.tensor_split(count), targets.tensor_split(count), strict=True)
    return torch.cat([checkpoint(function, *piece, use_reentrant=False) for piece in pieces])
