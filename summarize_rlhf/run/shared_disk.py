"""The machines of a launch must share the disk of the run's directory: one that does not is told of at the start.

Otherwise it would train for hours and fail at the first checkpoint, or resume from an old one of its own.
"""

import contextlib
import os
import socket
import time
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from summarize_rlhf import UserError

PATIENCE = 20.0  # seconds that a network file system may take to show what another machine has written


def check_disk_is_shared(file: Path) -> None:
    """Check that every process reads in `file` what the first process has written. All processes call this.

    Raises the same `UserError` on all of them, which names the directory, the machines that do not see the file, and
    what to do.
    """
    state = PartialState()
    if state.num_processes == 1:
        return
    here = socket.gethostname()
    written = [(file.read_bytes(), here, str(file.parent)) if state.is_main_process else None]
    content, first, directory = broadcast_object_list(written)[0]
    found = _differs(file, content)
    blind = gather_object([None if found is None else f"process {state.process_index} on {here} finds {found}"])
    told = [text for text in blind if text is not None]
    if told:
        more = f", and {len(told) - 1} more processes do not see it either" if len(told) > 1 else ""
        raise UserError(
            f"{directory} is not the same directory on all machines: process 0 on {first} has written {file.name} "
            f"there, but {told[0]}{more}. Mount one disk under the same path on every machine, or name a directory on "
            "a disk that they share"
        )


def _differs(file: Path, content: bytes) -> str | None:
    """Return None once the file has this content; after `PATIENCE` seconds say what is there instead."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            os.listdir(file.parent)  # NFS asks its server anew, instead of remembering that there was no such file
        try:
            if file.read_bytes() == content:
                return None
            found = "another file of that name"
        except OSError as error:
            found = f"none ({error.strerror})"
        if time.monotonic() > deadline:
            return found
        time.sleep(0.2)
