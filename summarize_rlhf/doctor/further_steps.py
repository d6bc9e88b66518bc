"""Would the model still learn? A few further steps on its own training rows, and what they do to the held-out loss.

A loss curve cannot tell a learning rate that was too low from one that was right: both end flat, one of them too high
up. The weights can. A step moves each weight of a matrix by a fixed share of the matrix's root mean square, in the
direction of Adam's first step (the sign of the gradient), so that it is as large for a model of any size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

STEP = 3e-3  # of a matrix's root mean square
MOST_WEIGHTS = 1e9  # of a model that is asked: its gradients are as large as its weights


def further_fall(
    model: nn.Module, loss_of: Callable[[Any], Tensor], train: Sequence[Any], held_out: Any
) -> float | None:
    """Return the largest share of the held-out loss that a step on each of the batches `train` has taken off so far.

    0 where no step lowers it; None for a model too large to ask. `loss_of` is the model's loss on a batch. The weights
    are changed.
    """
    matrices = [p for p in model.parameters() if p.dim() > 1]
    if sum(p.numel() for p in matrices) > MOST_WEIGHTS:
        return None
    sizes = [STEP * p.detach().square().mean().sqrt() for p in matrices]
    with torch.no_grad():
        lowest = start = loss_of(held_out).item()
    for batch in train:
        gradients = torch.autograd.grad(loss_of(batch), matrices, allow_unused=True)
        with torch.no_grad():
            for matrix, size, gradient in zip(matrices, sizes, gradients, strict=True):
                if gradient is not None:
                    matrix.sub_(size * gradient.sign())
            lowest = min(lowest, loss_of(held_out).item())
    return 1 - lowest / start if start > 0 else 0.0
