"""The model with the lowest loss on the evaluation rows, kept beside a run's step checkpoints until the run ends."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

from summarize_rlhf.run import checkpoints
from summarize_rlhf.run.zero3 import gathered_parameter

WEIGHTS = "trained.safetensors"


class BestModel(TrainerCallback):
    """Keep the trained weights of the evaluation with the lowest `eval_loss` so far; of equal ones, the first.

    They are in `<folder>/best-<step>/`, complete or absent. `found` says which, or is None: {"step": …, "eval_loss":
    …}. A step checkpoint names the best model that it `needs`, which stays as long as the checkpoint does; so a run
    that resumes from there knows what the uninterrupted one knew.
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
        """Return the name of the best model's folder; `found` is not None."""
        return f"best-{self.found['step']}"

    def needs(self) -> list[str]:
        """Return the folders that a checkpoint written now relies on."""
        return [] if self.found is None else [self.name]

    def drop_others(self) -> None:
        """Remove models that are no longer the best, unless a checkpoint needs them."""
        if PartialState().is_main_process:
            needed = {*self.needs(), *checkpoints.needed(self.folder)}
            for path in self.folder.glob("best-*"):
                if path.name not in needed:
                    checkpoints.remove(path)

    def restore(self, model: nn.Module, step: int) -> int:
        """Load the best weights into `model`, which is at `step`. Returns the step that they come from.

        All processes call this.
        """
        if self.found is None or self.found["step"] == step:
            return step
        weights = load_file(self.folder / self.name / WEIGHTS)
        with torch.no_grad():
            for name, parameter in trained(model):
                with gathered_parameter(parameter, modified=True) as writes:
                    if writes:
                        parameter.copy_(weights[name])
        return self.found["step"]


def trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the trained parameters by name, a shared one once."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the trained parameters into main memory on the first process; elsewhere return nothing. All call this."""
    weights = {}
    for name, parameter in trained(model):
        with gathered_parameter(parameter):
            if PartialState().is_main_process:
                weights[name] = parameter.detach().to("cpu", copy=True).contiguous()
    return weights
