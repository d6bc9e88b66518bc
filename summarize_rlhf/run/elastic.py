"""A run that goes on with another number of processes, where the user asks for it (`--elastic`, PPO: `train.elastic`).

Weights, Adam's moments, schedule, rows of each step and logs go on. Sums over processes round otherwise, and random
numbers are drawn anew: the run is statistically equal to the undisturbed one, not bit-equal.

ZeRO has cut the optimizer's state into one piece a process. DeepSpeed's universal checkpoint puts the pieces together,
one file a parameter, for as long as it takes to read them; the checkpoint itself is not touched.
"""

import argparse
import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, set_seed

from summarize_rlhf import UserError
from summarize_rlhf.run import checkpoints
from summarize_rlhf.run.files import disk_errors

SCRATCH = ".universal.tmp"  # beside the checkpoints, while one of them is read


def processes_of(directory: Path) -> int:
    """Return how many processes wrote the checkpoint in `directory`."""
    manifest = json.loads((directory / checkpoints.MANIFEST).read_text(encoding="utf-8"))
    return int(manifest["settings"]["processes"])


def tell(directory: Path, processes: int) -> None:
    """Say, on the first process, that the run goes on with another number of `processes`."""
    if PartialState().is_main_process:
        print(
            f"elastic: going on with {processes} process(es), {directory} was written by {processes_of(directory)}; "
            "statistically equal to the undisturbed run, not bit-equal",
            flush=True,
        )


def reseed(*seed: int) -> None:
    """Seed this process's random numbers: another stream for each tuple, say of the run's seed, its step and the rank.

    The states in the checkpoint belong to the processes that wrote it.
    """
    set_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))


def load_engine(engine: Any, folder: Path, scratch: Path) -> None:
    """Load weights, optimizer and counters into a DeepSpeed engine from the checkpoint in `folder`.

    It may be of any number of processes. `scratch` is a directory on the common disk that exists meanwhile. All
    processes call this. Raises `UserError` for a full disk and for an optimizer other than Adam.
    """
    tag = (folder / "latest").read_text(encoding="utf-8").strip()
    if not any((folder / tag).glob("*_optim_states.pt")):  # without ZeRO every process holds everything
        with checkpoints.tensors_only():
            engine.load_checkpoint(str(folder), tag)
        return
    if "betas" not in engine.optimizer.optimizer.param_groups[0]:
        kind = type(engine.optimizer.optimizer).__name__
        raise UserError(
            f"{folder} was written under ZeRO with the optimizer {kind}: the number of processes may change with Adam "
            "alone. Go on with as many processes as wrote it"
        )
    with checkpoints.tensors_only(), _universal(folder / tag, scratch) as found:
        engine._config.load_universal_checkpoint = True  # what `checkpoint: {load_universal: true}` sets
        try:
            engine.load_checkpoint(str(found.parent), found.name)
        finally:
            engine._config.load_universal_checkpoint = False
        _mend(engine.optimizer.optimizer, found)


@contextlib.contextmanager
def _universal(source: Path, scratch: Path) -> Iterator[Path]:
    """Yield DeepSpeed's checkpoint `source` as a universal one; the first process writes it into `scratch`."""
    state = PartialState()
    error: list[str | None] = [None]
    target = scratch / "universal"
    try:
        if state.is_main_process:
            try:
                _convert(source, target)
            except UserError as found:
                error[0] = str(found)
        error = broadcast_object_list(error)
        if error[0] is not None:
            raise UserError(error[0])
        yield target
        state.wait_for_everyone()
    finally:
        if state.is_main_process:
            shutil.rmtree(scratch, ignore_errors=True)


def _convert(source: Path, target: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal

    options = argparse.Namespace(
        input_folder=str(source),
        output_folder=str(target),
        num_extract_workers=1,  # in this process, under its `tensors_only`
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,  # of tensor parallelism, which there is none of
    )
    shutil.rmtree(target.parent, ignore_errors=True)  # of a process that was killed
    quiet = io.StringIO()
    with disk_errors(target.parent), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        target.mkdir(parents=True)
        ds_to_universal.main(options)


def _mend(optimizer: torch.optim.Optimizer, universal: Path) -> None:
    """Give each group of torch's `optimizer` its own options, and each state a step of its own where torch wants it.

    DeepSpeed 0.19 loads the options of the first group into all, by which weight decay would reach biases, and one step
    that all states of ZeRO-3 share, so that each of them would count it up.
    """
    saved = torch.load(universal / "zero" / "optimizer_state.pt", map_location="cpu", weights_only=True)
    for group, options in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        group.update({name: value for name, value in options.items() if name != "params"})
    beside_moments = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    for state in optimizer.state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].to(state["exp_avg"].device if beside_moments else "cpu", copy=True)
