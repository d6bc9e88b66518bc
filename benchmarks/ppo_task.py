"""Define one PPO iteration as a task for any library, and time its phases.

Imports torch and the standard library only: the libraries' environments lack this repository's dependencies.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.machine import peak_gb

FILE, CLASSIFIER = "task.json", "classifier"  # in the benchmark's folder


class Task(NamedTuple):
    """Inputs and settings shared by all libraries. Prompts are token ids; a micro-batch is one backward pass."""

    warm_up: list[list[int]]
    prompts: list[list[int]]
    new_tokens: int
    chunk: int  # rows that are generated and scored at once
    micro_batch: int
    accumulation: int  # micro-batches an update
    epochs: int
    unfrozen: int  # blocks trained, from the top; -1: all, and the embeddings
    kl_coef: float
    vf_coef: float
    learning_rate: float

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(self._asdict()), encoding="utf-8")


def read(folder: Path) -> Task:
    return Task(**json.loads((folder / FILE).read_text(encoding="utf-8")))


def train_only(model: nn.Module, blocks: nn.ModuleList, head: nn.Module | None, unfrozen: int) -> None:
    """Freeze all but the top `unfrozen` blocks and the `head`, as `num_layers_unfrozen` does."""
    if unfrozen < 0:
        return
    model.requires_grad_(False)
    for module in [*blocks[len(blocks) - unfrozen :], *([head] if head is not None else [])]:
        module.requires_grad_(True)


class Phases:
    """Time an iteration by phase. Before the optimisation, all but generation and reward is `policy + reference`."""

    def __init__(self):
        self.seconds = {"generate": 0.0, "reward": 0.0}
        self.start = self.collected = time.perf_counter()

    def timed(self, name: str | None, function: Callable) -> Callable:
        """Wrap a function to count its time as `name` (None: not at all); collection lasts until it returns."""

        def call(*args, **kwargs):
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.collected = time.perf_counter()
            if name:
                self.seconds[name] += self.collected - start
            return result

        return call

    def figures(self) -> dict[str, Any]:
        """Return all phases and what a benchmark's process reports; call it at the end of the iteration."""
        end = time.perf_counter()
        rest = self.collected - self.start - sum(self.seconds.values())
        phases = self.seconds | {"policy + reference": rest, "optimise": end - self.collected}
        process = {"peak_rss_gb": peak_gb(), "threads": torch.get_num_threads()}
        return phases | {"iteration": end - self.start} | process
