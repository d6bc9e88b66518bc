"""Every optimizer step is the mean over its global batch, whatever micro-batches and processes it is computed in.

An epoch's rows have one order, cut into global batches; the rest makes a smaller last step. Each row is trained on once
an epoch and weighs 1/n in a step of n rows (SFT: each supervised token of n).
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer, TrainerCallback

from summarize_rlhf.run.sampler import LengthGroupedSampler


class MicroBatches(Sampler[list[int]]):
    """Yield the rows of each micro-batch of one process: of those in `order`, batch k goes to process k % `processes`.

    All processes have equally many micro-batches. No row is repeated for that: the last micro-batch of a process may be
    short, or empty.
    """

    def __init__(self, order: Sampler[int], size: int, rank: int, processes: int):
        self.order, self.size, self.rank, self.processes = order, size, rank, processes

    def __len__(self) -> int:
        return math.ceil(len(self.order) / (self.size * self.processes))

    def __iter__(self) -> Iterator[list[int]]:
        rows = list(self.order)
        for number in range(len(self)):
            start = (number * self.processes + self.rank) * self.size
            yield rows[start : start + self.size]


class GlobalBatchTrainer(Trainer):
    """A Trainer that minimises the mean loss per item of the global batch, and logs the mean of its steps.

    A subclass counts the items of a micro-batch (`count`) and sums their losses (`total_loss`). `order` is the order of
    the training rows; `gradient_accumulation_steps` micro-batches on each process make a global batch.
    """

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the items of all micro-batches

    def __init__(self, order: LengthGroupedSampler, **kwargs: Any):
        super().__init__(**kwargs)
        self.order = order
        self.accelerator.gradient_accumulation_steps = self.args.gradient_accumulation_steps  # as DeepSpeed has it
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        self.add_callback(_EpochInRows(len(order), batch))

    def count(self, batch: dict[str, Any]) -> Tensor | int:
        """Return how many losses this micro-batch adds to the mean of a step."""
        raise NotImplementedError

    def total_loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, Any]:
        """Return the sum of the losses of a micro-batch, and the outputs that evaluation keeps."""
        raise NotImplementedError

    def get_train_dataloader(self) -> DataLoader:
        """Load the micro-batches of this process; Accelerate would fill up the last ones with rows of the first."""
        args = self.args
        batches = MicroBatches(self.order, args.train_batch_size, args.process_index, args.world_size)
        return DataLoader(
            self.train_dataset, batch_sampler=batches, collate_fn=self._collate, pin_memory=args.dataloader_pin_memory
        )

    def _collate(self, rows: list[Any]) -> dict[str, Any]:
        """Collate rows; a process without rows left takes part in the pass with any row, at weight 0."""
        return self.data_collator(rows or [self.train_dataset[0]]) | {"weight": float(bool(rows))}

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor]:
        """Return the micro-batches of this process in the next step, and the items of all processes in it."""
        batches = list(itertools.islice(epoch_iterator, num_batches))
        items = sum(batch["weight"] * self.count(batch) for batch in batches)
        return batches, self.accelerator.reduce(torch.as_tensor(items, dtype=torch.float64, device=device))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Compute a micro-batch's share of the mean over `num_items_in_batch` (default: its own), times the processes.

        Times the processes, because DeepSpeed averages the gradients over them.
        """
        weight = inputs.pop("weight", 1.0)
        total, outputs = self.total_loss(model, inputs)
        items = self.count(inputs) if num_items_in_batch is None else num_items_in_batch / self.args.world_size
        loss = weight * total / items
        return (loss, outputs) if return_outputs else loss


class _EpochInRows(TrainerCallback):
    """Count `state.epoch` in rows. Trainer counts micro-batches, of which the last may be short."""

    def __init__(self, rows: int, batch: int):
        self.rows, self.batch = rows, batch

    def on_step_end(self, args, state, control, **kwargs) -> None:
        epochs, steps = divmod(state.global_step, math.ceil(self.rows / self.batch))
        state.epoch = epochs + steps * self.batch / self.rows
