"""The directory of a run: marked as ours before anything is written there, and locked for one run at a time."""

import contextlib
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import IO

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from summarize_rlhf import UserError
from summarize_rlhf.run.checkpoints import MANIFEST, checkpoints
from summarize_rlhf.run.files import disk_errors
from summarize_rlhf.run.shared_disk import check_disk_is_shared

MARKER = "run_directory.json"
_HELD: dict[Path, IO[str]] = {}  # by this process, until it ends


def hold_run_directory(directory: str | Path, stage: str) -> None:
    """Mark `directory` as a run of `stage` and lock it until this process ends. All processes of a launch call this.

    The lock is the system's (`flock`), on the marker: a killed process leaves none behind, and a worker that outlives
    its launcher keeps it as long as it may write. The launch's first process holds it; calling again changes nothing.

    Raises `UserError` where another run is at work, where the directory holds files that no run of `stage` wrote (these
    would be replaced or deleted), and where a machine of the launch does not see the directory.
    """
    path = Path(directory).absolute()
    answer: list[str | None] = [None]
    if PartialState().is_main_process and not (path in _HELD and (path / MARKER).is_file()):
        try:
            _hold(path, stage)
        except UserError as error:
            answer[0] = str(error)
    message = broadcast_object_list(answer)[0]
    if message is not None:
        raise UserError(message)
    check_disk_is_shared(path / MARKER)


def release_run_directories() -> None:
    """Give the locks back. A directory in which nothing was written is removed: no refused start leaves one."""
    for path, file in _HELD.items():
        with contextlib.suppress(OSError):
            if [entry.name for entry in path.iterdir()] == [MARKER]:
                (path / MARKER).unlink()
                path.rmdir()
        file.close()
    _HELD.clear()


def _hold(path: Path, stage: str) -> None:
    check_run_directory(path, stage)
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        file = (path / MARKER).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (path / MARKER).exists() or not os.path.samestat(os.fstat(file.fileno()), (path / MARKER).stat()):
            file.close()  # its last holder has just removed it
            return _hold(path, stage)
    except BlockingIOError as error:
        file.close()
        holder = read_marker(path).get("holder", "a process that is just starting")
        raise UserError(
            f"another run is at work in {path}: {holder}. Wait for its end, stop it, or name another directory"
        ) from error
    except OSError as error:  # a file system without locks
        print(f"note: {path} cannot be locked ({error.strerror}): start no second run there", flush=True)
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    holder = f"process {os.getpid()} on {socket.gethostname()}, started {started}: {command[:200]}"
    with disk_errors(path):
        file.truncate(0)
        file.write(json.dumps({"stage": stage, "holder": holder}) + "\n")
        file.flush()
        os.fsync(file.fileno())  # until then a network file system may keep it from other machines
    _HELD[path] = file


def check_run_directory(path: Path, stage: str) -> None:
    """Raise `UserError` unless `path` is absent, empty or a run of `stage`."""
    if path.exists() and not path.is_dir():
        raise UserError(f"the run's directory {path} is a file: name another one")
    if not path.exists() or not any(path.iterdir()):
        return
    if not (path / MARKER).is_file() and not any((folder / MANIFEST).is_file() for folder in checkpoints(path)):
        raise UserError(
            f"{path} holds files that no run wrote (no {MARKER}), and a run would replace or delete some: name another "
            "directory, or move them away"
        )
    found = read_marker(path).get("stage", stage)
    if found != stage:
        raise UserError(f"{path} holds a run of stage {found!r}, this is stage {stage!r}: name another directory")


def read_marker(path: Path) -> dict[str, str]:
    """Read what the marker says: `stage` and `holder`; nothing of one that was torn."""
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
        return {name: str(value) for name, value in marker.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
