"""A run's log, one JSON object a line: what a checkpoint knows of it is checked before a run goes on writing to it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from summarize_rlhf.run.files import disk_errors, sync_file, write_file

EMPTY = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}


class JsonLines:
    """A file of JSON objects that only grows. A checkpoint keeps its `state`; a run that resumes calls `restore`.

    One process writes it.
    """

    def __init__(self, path: Path):
        self.path = path

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add a line for each row."""
        lines = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(lines)

    def state(self) -> dict[str, Any]:
        """Return `bytes` and `sha256` of the file as it is, all of it on disk."""
        if not self.path.is_file():
            return EMPTY
        sync_file(self.path)
        content = self.path.read_bytes()
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def restore(self, state: Mapping[str, Any] = EMPTY) -> None:
        """Cut the file back to `state`: what was written later will be written again. Without a state it begins empty.

        Where the lines that the checkpoint knew are damaged or missing, those that are still whole stay, and one line
        on the console says so.
        """
        content = self.path.read_bytes() if self.path.is_file() else b""
        known = content[: state["bytes"]]
        if hashlib.sha256(known).hexdigest() != state["sha256"]:
            lines = [line for line in known.splitlines(keepends=True) if _is_object(line)]
            known = b"".join(lines)
            print(
                f"{self.path} is not what the checkpoint knew ({min(len(content), state['bytes'])} of {state['bytes']} "
                f"bytes are there, or their hash differs): the {len(lines)} whole lines stay, the others are lost. "
                "Training does not depend on them",
                flush=True,
            )
        write_file(self.path, known.decode("utf-8"))


def _is_object(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
