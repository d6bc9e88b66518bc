"""The model with the lowest loss on the evaluation rows, kept beside a run's step checkpoints until the run ends."""

import contextlib
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

from summarize_rlhf.run import checkpoints

WEIGHTS = "trained.safetensors"


class BestModel(TrainerCallback):
    """Keeps the trained weights at the evaluation with the lowest `eval_loss` so far; of equal ones, the first.

    They lie in `<folder>/best-<step>/`, whole or absent. `found` says which, or is None: {"step": …, "eval_loss": …}.
    A step checkpoint names the one it `needs`, which stays as long as the checkpoint does; so a run that goes on from
    there knows what the uninterrupted one knew.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder, self.settings = folder, settings
        self.found: dict[str, Any] | None = None

    def on_evaluate(self, args, state, control, metrics, model, **kwargs) -> None:
        loss = metrics["eval_loss"]  # the same on all processes
        if not math.isfinite(loss) or (self.found is not None and loss >= self.found["eval_loss"]):
            return
        self.found = {"step": state.global_step, "eval_loss": loss}
        with checkpoints.write_checkpoint(self.folder / self.name, self.settings) as tmp:
            weights = trained_weights(model)
            if PartialState().is_main_process:
                save_file(weights, tmp / WEIGHTS)
        self.drop_others()

    @property
    def name(self) -> str:
        """The folder of the best model; there is one."""
        return f"best-{self.found['step']}"

    def needs(self) -> list[str]:
        """What a checkpoint that is written now relies on."""
        return [] if self.found is None else [self.name]

    def drop_others(self) -> None:
        """Remove what is no longer the best, unless a checkpoint needs it."""
        if PartialState().is_main_process:
            needed = {*self.needs(), *checkpoints.needed(self.folder)}
            for path in self.folder.glob("best-*"):
                if path.name not in needed:
                    shutil.rmtree(path)

    def restore(self, model: nn.Module, step: int) -> int:
        """Put the best weights into `model`, which is at `step`. Returns the step they are of.

        All processes call this.
        """
        if self.found is None or self.found["step"] == step:
            return step
        weights = load_file(self.folder / self.name / WEIGHTS)
        with torch.no_grad():
            for name, parameter in trained(model):
                with gathered(parameter, written=True) as mine:
                    if mine:
                        parameter.copy_(weights[name])
        return self.found["step"]


def trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that are trained, by name, a shared one once."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of them in main memory, on the first process; elsewhere nothing. All processes call this."""
    weights = {}
    for name, parameter in trained(model):
        with gathered(parameter):
            if PartialState().is_main_process:
                weights[name] = parameter.detach().to("cpu", copy=True).contiguous()
    return weights


@contextlib.contextmanager
def gathered(parameter: nn.Parameter, written: bool = False) -> Iterator[bool]:
    """The whole of a parameter, which ZeRO-3 spreads over the processes. Yields whether this process is to write it."""
    from deepspeed.runtime.zero.partition_parameters import GatheredParameters
    from deepspeed.runtime.zero.utils import is_zero_param

    if not is_zero_param(parameter):
        yield True
        return
    with GatheredParameters([parameter], modifier_rank=0 if written else None):
        yield PartialState().is_main_process
