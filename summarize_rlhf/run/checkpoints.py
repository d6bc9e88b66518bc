"""Checkpoints that a run goes on from: whole or absent, checked before they are trusted, refused under other settings.

A checkpoint is written under a hidden name, by all processes; then the first one hashes every file, syncs them, writes
the marker and gives the folder its name. A folder with a name and no marker, or with a file that is not what the marker
says, is passed over, and the one before it is taken.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
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
NAME = re.compile(r"checkpoint[-_](\d+)")


def step_of(path: Path) -> int:
    """The step that a checkpoint's name ends with, -1 for what is none."""
    found = NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest first, whole or not."""
    found = [path for path in folder.glob("checkpoint*") if step_of(path) >= 0]
    return sorted(found, key=step_of, reverse=True)


@contextlib.contextmanager
def write_checkpoint(path: Path, settings: Mapping[str, Any], needs: Sequence[str] = ()) -> Iterator[Path]:
    """All processes write into the folder that this yields; it appears under its name whole or not at all.

    `needs` names folders beside it, written likewise, without which it is not whole.

    Raises `UserError` where the disk is full or must not be written; nothing is left then but the checkpoints before.
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
                if path.exists():  # a damaged one, which this run has passed over
                    shutil.rmtree(path)
                tmp.rename(path)
                sync_directory(path.parent)
            state.wait_for_everyone()
        except BaseException:
            shutil.rmtree(tmp, ignore_errors=True)
            raise


def write_manifest(directory: Path, settings: Mapping[str, Any], needs: Sequence[str] = ()) -> None:
    """Syncs every file and writes the marker: sizes, hashes, the settings that the run has, and what lies beside it."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(8) as pool:
        hashes = list(pool.map(sha256_of, files))
    described = {
        str(path.relative_to(directory)): {"bytes": path.stat().st_size, "sha256": found}
        for path, found in zip(files, hashes, strict=True)
    }
    sync_directory(directory, whole=True)
    write_file(
        directory / MANIFEST,
        json.dumps(signed({"settings": settings, "files": described, "needs": list(needs)}), indent=1),
    )
    sync_directory(directory)


def signed(marker: Mapping[str, Any]) -> dict[str, Any]:
    """With a hash of its own content."""
    content = {name: value for name, value in marker.items() if name != "sha256"}
    return {**content, "sha256": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def find_corruption(directory: Path) -> str | None:
    """What is wrong with a checkpoint, by the name of the file; None for a whole one."""
    try:
        marker = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        files = {directory / name: (int(x["bytes"]), str(x["sha256"])) for name, x in marker["files"].items()}
        if signed(marker) != marker:
            return f"{MANIFEST} is not what was written (its hash differs)"
        marker["settings"].items()
        beside = [directory.parent / name for name in marker.get("needs", [])]
    except FileNotFoundError:
        return f"{MANIFEST} is missing: it was not finished"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} is damaged"
    for path, (size, _) in files.items():
        if not path.is_file():
            return f"{path.relative_to(directory)} is missing"
        if path.stat().st_size != size:
            return f"{path.relative_to(directory)} has {path.stat().st_size} bytes instead of {size}"
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
    """The folders beside them that the checkpoints of a run rely on."""
    names: set[str] = set()
    for path in checkpoints(folder):
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):  # a damaged one needs nothing
            names.update(json.loads((path / MANIFEST).read_text(encoding="utf-8")).get("needs", []))
    return names


def newest_complete(folder: Path, needs: str = "") -> Path | None:
    """The newest checkpoint that is whole and has a folder `needs`; says of each newer one why it is passed over."""
    for path in checkpoints(folder):
        reason = find_corruption(path) or (None if (path / needs).is_dir() else f"it has no folder {needs!r}")
        if reason is None:
            return path
        print(f"passed over {path}: {reason}", flush=True)
    return None


def find(folder: Path, settings: Mapping[str, Any], free: frozenset[str], fresh: bool, needs: str = "") -> Path | None:
    """Where the run goes on, the same on all processes: its newest whole checkpoint, or None at its beginning.

    With `fresh` earlier checkpoints are removed. Raises `UserError` that names each of `settings` that has changed,
    unless it is `free` to.
    """
    state = PartialState()
    answer: list[Any] = [None, None]
    if state.is_main_process:
        try:
            answer[0] = None if fresh else newest_complete(folder, needs)
            if answer[0] is not None:
                before = json.loads((answer[0] / MANIFEST).read_text(encoding="utf-8"))["settings"]
                refuse_changes(before, settings, free, answer[0])
            for path in checkpoints(folder) if fresh else ():
                shutil.rmtree(path)
        except UserError as error:
            answer[1] = str(error)
    found, error = broadcast_object_list(answer)
    if error is not None:
        raise UserError(error)
    if found is not None and state.is_main_process:
        print(f"going on from {found} (--fresh starts over)", flush=True)
    return found


def refuse_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], free: frozenset[str], checkpoint: str | Path
) -> None:
    """`UserError` naming the settings that changed and would change what is computed."""
    now = json.loads(json.dumps(now))  # as the marker has it: tuples are lists
    names = [name for name in {**before, **now} if before.get(name) != now.get(name) and name not in free]
    if names:
        changes = "; ".join(f"{name} was {_short(before.get(name))}, is {_short(now.get(name))}" for name in names)
        raise UserError(
            f"{checkpoint} was written under other settings: {changes}. Going on would be another run: take the old "
            "ones, or start over with --fresh, or name another output directory"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def rotate(folder: Path, keep: int, step: int) -> None:
    """After a checkpoint of `step` was written: of it and those before it, the newest `keep` stay (at least one)."""
    for path in [path for path in checkpoints(folder) if step_of(path) <= step][max(keep, 1) :]:
        shutil.rmtree(path)


@contextlib.contextmanager
def tensors_only() -> Iterator[None]:
    """Within it, torch.load takes tensors and plain values alone, whatever its caller asks for.

    No code in a pickle runs, though DeepSpeed and Accelerate load their states without that care. What these hold
    besides is listed here.
    """
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get(FORCE)
    os.environ[FORCE] = "1"
    try:
        with torch.serialization.safe_globals([LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        os.environ.pop(FORCE)
        if before is not None:
            os.environ[FORCE] = before
