"""Optimizers and learning rate schedules by the names that a configuration gives them."""

from collections.abc import Iterable

import torch
from torch.optim import lr_scheduler

from trlx.data.configs import OptimizerConfig, SchedulerConfig

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
SCHEDULERS = {
    "cosine_annealing": lr_scheduler.CosineAnnealingLR,
    "linear": lr_scheduler.LinearLR,
    "constant": lr_scheduler.ConstantLR,
}


def build_optimizer(config: OptimizerConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer over the parameters that train, and no others."""
    return OPTIMIZERS[config.name.lower()]([p for p in parameters if p.requires_grad], **config.kwargs)


def build_scheduler(config: SchedulerConfig, optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    """Build the learning rate schedule; it takes one step per optimizer update."""
    kwargs = {"factor": 1.0} if config.name.lower() == "constant" else {}
    return SCHEDULERS[config.name.lower()](optimizer, **(kwargs | config.kwargs))
