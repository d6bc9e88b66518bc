"""Checkpoints that a run resumes from: complete or absent, verified before use, refused under other settings.

All processes write a checkpoint under a hidden name; then the first one hashes every file, syncs them, writes the
manifest and gives the folder its name. A folder without a manifest, or with a file that is not what the manifest says,
is passed over, and the checkpoint before it is taken.
"""

import contextlib
import enum
import hashlib
import itertools
import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from summarize_rlhf import UserError
from summarize_rlhf.run.files import disk_errors, sha256_of, sync_directory, write_file

MANIFEST = "checkpoint.json"
FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch's own switch
GETATTR = ("__builtin__.getattr", "builtins.getattr")  # its names in a pickle
NAME = re.compile(r"checkpoint[-_](\d+)")


def step_of(path: Path) -> int:
    """Return the step that a checkpoint's name ends with, -1 for the name of something else."""
    found = NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a run, the newest first, complete or not."""
    found = [path for path in folder.glob("checkpoint*") if step_of(path) >= 0]
    return sorted(found, key=step_of, reverse=True)


@contextlib.contextmanager
def write_checkpoint(path: Path, settings: Mapping[str, Any], needs: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a folder that all processes write into; it appears under its name when it is complete, or not at all.

    `needs` names folders beside it, written likewise, without which it is incomplete.

    Raises `UserError` where the disk is full or read-only; then nothing is left but the earlier checkpoints.
    """
    state = PartialState()
    tmp = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            if state.is_main_process:
                shutil.rmtree(tmp, ignore_errors=True)  # of a process that was killed
                tmp.mkdir(parents=True)
            state.wait_for_everyone()
            yield tmp
            state.wait_for_everyone()
            if state.is_main_process:
                write_manifest(tmp, settings, needs)
                remove(path)  # a corrupt one, which this run has passed over
                set_aside(path)
                tmp.rename(path)
                sync_directory(path.parent)
            state.wait_for_everyone()
        except BaseException:
            shutil.rmtree(tmp, ignore_errors=True)
            raise


def write_manifest(directory: Path, settings: Mapping[str, Any], needs: Sequence[str] = ()) -> None:
    """Sync every file and write the manifest: sizes, hashes, the run's settings, and the folders beside it it needs."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(8) as pool:
        hashes = list(pool.map(sha256_of, files))
    described = {
        str(path.relative_to(directory)): {"bytes": path.stat().st_size, "sha256": found}
        for path, found in zip(files, hashes, strict=True)
    }
    sync_directory(directory, recursive=True)
    write_file(
        directory / MANIFEST,
        json.dumps(signed({"settings": settings, "files": described, "needs": list(needs)}), indent=1),
    )
    sync_directory(directory)


def signed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Add a hash of the manifest's own content."""
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return {**content, "sha256": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def find_corruption(directory: Path) -> str | None:
    """Say what is wrong with a checkpoint, by the name of the file; None if it is complete and intact."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        files = {directory / name: (int(x["bytes"]), str(x["sha256"])) for name, x in manifest["files"].items()}
        if signed(manifest) != manifest:
            return f"{MANIFEST} is not what was written (its hash differs)"
        manifest["settings"].items()
        beside = [directory.parent / name for name in manifest.get("needs", [])]
        sizes = {path: path.stat().st_size if path.is_file() else None for path in files}
    except FileNotFoundError:
        return f"{MANIFEST} is missing: it was not finished"
    except PermissionError as error:  # not damage: to pass it over would start the run over
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    except (OSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} is damaged"
    for path, (size, _) in files.items():
        if sizes[path] is None:
            return f"{path.relative_to(directory)} is missing"
        if sizes[path] != size:
            return f"{path.relative_to(directory)} has {sizes[path]} bytes instead of {size}"
    with ThreadPoolExecutor(8) as pool:
        for path, found in zip(files, pool.map(sha256_of, files), strict=True):
            if found != files[path][1]:
                return f"{path.relative_to(directory)} is not what was written (its hash differs)"
    for other in beside:
        reason = find_corruption(other)
        if reason is not None:
            return f"{other.name} beside it: {reason}"
    return None


def needed(folder: Path) -> set[str]:
    """Return the names of the folders beside them that the checkpoints of a run need."""
    names: set[str] = set()
    for path in checkpoints(folder):
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):  # a corrupt one needs nothing
            names.update(json.loads((path / MANIFEST).read_text(encoding="utf-8")).get("needs", []))
    return names


def newest_complete(folder: Path, needs: str = "") -> Path | None:
    """Return the newest intact checkpoint with a folder `needs`; print why each newer one is passed over."""
    for path in checkpoints(folder):
        reason = find_corruption(path) or (None if (path / needs).is_dir() else f"it has no folder {needs!r}")
        if reason is None:
            return path
        print(f"passed over {path}: {reason}", flush=True)
    return None


def find(folder: Path, settings: Mapping[str, Any], may_change: Set[str], fresh: bool, needs: str = "") -> Path | None:
    """Find the checkpoint that the run resumes from, the same on all processes: the newest intact one, or None.

    With `fresh` earlier checkpoints are removed. Raises `UserError` naming each of `settings` that has changed and is
    not one of those that `may_change`.
    """
    state = PartialState()
    answer: list[Any] = [None, None]
    if state.is_main_process:
        try:
            answer[0] = None if fresh else newest_complete(folder, needs)
            if answer[0] is not None:
                before = json.loads((answer[0] / MANIFEST).read_text(encoding="utf-8"))["settings"]
                refuse_changes(before, settings, may_change, answer[0])
            for path in checkpoints(folder) if fresh else ():
                remove(path)
        except UserError as error:
            answer[1] = str(error)
    found, error = broadcast_object_list(answer)
    if error is not None:
        raise UserError(error)
    if found is not None and state.is_main_process:
        print(f"going on from {found} (--fresh starts over)", flush=True)
    return found


def refuse_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], may_change: Set[str], checkpoint: str | Path
) -> None:
    """Raise `UserError` naming the settings that changed and would change what is computed."""
    now = json.loads(json.dumps(now))  # as in the manifest: tuples are lists
    names = [name for name in {**before, **now} if before.get(name) != now.get(name) and name not in may_change]
    if names:
        changes = "; ".join(f"{name} was {_short(before.get(name))}, is {_short(now.get(name))}" for name in names)
        elastic = "; --elastic (PPO: train.elastic) goes on with another number of processes"
        raise UserError(
            f"{checkpoint} was written under other settings: {changes}. Going on would be another run: take the old "
            "ones, or start over with --fresh, or name another output directory"
            f"{elastic if 'processes' in names else ''}"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def rotate(folder: Path, keep: int, step: int) -> None:
    """Remove, after a checkpoint of `step` was written, all but the newest `keep` of it and its predecessors."""
    for path in [path for path in checkpoints(folder) if step_of(path) <= step][max(keep, 1) :]:
        remove(path)


def remove(path: Path) -> None:
    """Remove a checkpoint, complete or corrupt. A folder without a manifest was not written here: it stays."""
    if (path / MANIFEST).is_file():
        shutil.rmtree(path)


def set_aside(path: Path) -> None:
    """Rename a folder of somebody else that has a checkpoint's name, so that the checkpoint can get it."""
    if path.exists():
        other = next(p for i in itertools.count(1) if not (p := path.with_name(f"{path.name}.other-{i}")).exists())
        path.rename(other)
        print(f"{path} has no {MANIFEST}, so no run wrote it: it is now {other.name}", flush=True)


def _member(kind: type[enum.Enum], name: str) -> enum.Enum:
    """Stand for the `getattr` by which early Python 3.11 (Debian 12: 3.11.2) pickles the member `name` of an enum."""
    if not (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        raise pickle.UnpicklingError(f"an attribute of {kind!r} is asked for, which is no enumeration")
    return kind[name]


@contextlib.contextmanager
def tensors_only() -> Iterator[None]:
    """Restrict torch.load to tensors and plain values, whatever its caller asks for.

    So no code in a pickle runs, though DeepSpeed and Accelerate load their states without that restriction. The classes
    that these states hold besides are listed here.
    """
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get(FORCE)
    os.environ[FORCE] = "1"
    try:
        known = [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]
        with torch.serialization.safe_globals([*known, *((_member, name) for name in GETATTR)]):
            yield
    finally:
        os.environ.pop(FORCE)
        if before is not None:
            os.environ[FORCE] = before
