"""What stages 1 and 2 compute, the slow way: AdamW, clipping, schedule and order of rows, written from their papers.

Nothing here uses a Trainer, a launcher, an optimizer or a scheduler of torch.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


class AdamW:
    """Loshchilov and Hutter 2019, algorithm 2. Biases and norms do not decay, as in Trainer, unless `all_decay`."""

    def __init__(self, model: nn.Module, beta1: float, beta2: float, eps: float, decay: float, all_decay: bool = False):
        norms = {id(p) for m in model.modules() if "Norm" in type(m).__name__ for p in m.parameters()}
        self.params = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        spared = [not all_decay and (id(p) in norms or n.endswith("bias")) for n, p in self.params]
        self.decays = [0.0 if each else decay for each in spared]
        self.beta1, self.beta2, self.eps, self.k = beta1, beta2, eps, 0
        self.m = [torch.zeros_like(p) for _, p in self.params]
        self.v = [torch.zeros_like(p) for _, p in self.params]

    @torch.no_grad()
    def step(self, rate: float, max_norm: float | None) -> float:
        """One step on the gradients, clipped to the global norm `max_norm`; returns their norm before that."""
        self.k += 1
        norm = sum(float((p.grad.double() ** 2).sum()) for _, p in self.params) ** 0.5
        shrink = 1.0 if max_norm is None else min(1.0, max_norm / (norm + 1e-6))
        for i, (_, p) in enumerate(self.params):
            g = p.grad * shrink
            self.m[i] = self.beta1 * self.m[i] + (1 - self.beta1) * g
            self.v[i] = self.beta2 * self.v[i] + (1 - self.beta2) * g * g
            m, v = self.m[i] / (1 - self.beta1**self.k), self.v[i] / (1 - self.beta2**self.k)
            p -= rate * self.decays[i] * p
            p -= rate * m / (v.sqrt() + self.eps)
            p.grad = None
        return norm


def cosine_rate(k: int, peak: float, warmup: int, total: int) -> float:
    """The rate of optimizer step k (from 0): from 0 to `peak` in `warmup` steps, then down half a cosine to 0."""
    if k < warmup:
        return peak * k / warmup
    return peak * (1 + math.cos(math.pi * (k - warmup) / (total - warmup))) / 2


def batches_of(lengths: list[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """One epoch's rows: shuffled, sorted by length within 16 batches, the batches shuffled, one with the longest first.

    The last batch, if it is not full, stays last.
    """
    generator = torch.Generator().manual_seed(seed + epoch)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    rows = []
    for start in range(0, len(order), 16 * size):
        rows += sorted(order[start : start + 16 * size], key=lambda row: lengths[row])
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    rest = batches.pop() if len(batches[-1]) < size else None
    batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
    if batches:
        longest = max(range(len(batches)), key=lambda i: lengths[batches[i][-1]])
        batches.insert(0, batches.pop(longest))
    return [*batches, *([rest] if rest else [])]


def train(
    model: nn.Module,
    loss: Callable[[list[int]], Tensor],
    batches: Iterable[list[int]],
    optimizer: AdamW,
    rates: list[float],
    max_norm: float | None,
) -> list[float]:
    """One step per rate, each on the gradient of a whole global batch; returns the norms of the gradients."""
    model.train()
    norms = []
    for rows, rate in zip(batches, rates, strict=False):
        loss(rows).backward()
        norms.append(optimizer.step(rate, max_norm))
    assert len(norms) == len(rates)
    return norms
