"""What a run will write, compared with what is free, before hours are spent on it."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from torch import nn

from summarize_rlhf import UserError

ADAM = 12  # bytes a trained parameter takes in an optimizer's state: two moments, and the fp32 copy that ZeRO keeps
FP32 = 4


class Need(NamedTuple):
    """Something that will be written: what, where, and how many bytes."""

    what: str
    path: Path
    bytes: int


def training_needs(
    model: nn.Module, steps_dir: Path, output_dir: Path, keep: int | None, keeps_best: bool = False
) -> list[Need]:
    """List what a training will have on disk at once: step checkpoints, best models, the result.

    Sizes follow from the parameters, in fp32; what an earlier start has left in `steps_dir` is there already.
    """
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kept = checkpoints_at_once(keep)
    checkpoint = FP32 * total + ADAM * trained
    needs = [
        Need(f"{kept} step checkpoints", steps_dir, max(kept * checkpoint - held(steps_dir), checkpoint)),
        Need("the trained model", output_dir, FP32 * total),
    ]
    if keeps_best:
        needs.append(Need("best models", steps_dir, 2 * FP32 * trained))
    return needs


def checkpoints_at_once(keep: int | None) -> int:
    """Return how many checkpoints a run surely has at once: those kept, two of many, and the one being written.

    Whether more are ever made depends on how long it runs.
    """
    return min(keep or 2, 2) + 1


def held(directory: Path) -> int:
    """Return how many bytes the files of a directory have; 0 where there is none."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def device_of(path: Path) -> int:
    return os.stat(path).st_dev


def check_free(needs: Iterable[Need]) -> None:
    """Raise `UserError`, which lists the needs, where those of one file system are more than is free there."""
    by_device: dict[int, list[tuple[Need, Path]]] = {}
    for need in needs:
        there = next(p for p in (need.path, *need.path.absolute().parents) if p.exists())
        by_device.setdefault(device_of(there), []).append((need, there))
    for same in by_device.values():
        wanted, free = sum(need.bytes for need, _ in same), shutil.disk_usage(same[0][1]).free
        if wanted > free:
            listed = "; ".join(f"{need.what} in {need.path}: {_size(need.bytes)}" for need, _ in same)
            raise UserError(
                f"this run will write {_size(wanted)} where {_size(free)} are free ({listed}). Free "
                "some, keep fewer checkpoints (save_total_limit), or name directories on another disk"
            )


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
