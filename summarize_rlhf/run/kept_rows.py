"""Rows that cost minutes or hours, computed a chunk at a time on all processes: a stopped run goes on where it was."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from summarize_rlhf.hub import is_local
from summarize_rlhf.run import kept

CHUNK = 512  # rows: what a kill can cost


class KeptRows:
    """A directory of chunks. All processes of a launch call its methods alike; the first one reads and writes.

    `show` is whether this process shows progress.
    """

    def __init__(self, directory: str | Path, chunk: int = CHUNK):
        self.directory, self.chunk = Path(directory), chunk
        self.show = PartialState().is_main_process

    def rows(self, name: str, count: int, work: Callable[[list[int]], Sequence[Any]], made_from: Any) -> list[Any]:
        """Return what `work` makes of the rows 0 to `count` − 1, in order: plain JSON.

        `work` is given the numbers of some rows and returns a result for each, which depends on nothing but the row.
        Chunks that an earlier start kept under `name` are read, if they were `made_from` the same (plain JSON); the
        rows of any other are shared among the processes, and the chunk is kept.
        """
        state = PartialState()
        results = []
        for start in range(0, count, self.chunk):
            rows = range(start, min(start + self.chunk, count))
            file, key = self.directory / f"{name}-{start}", _hash([made_from, count, len(rows)])
            content = kept.read_value(file) if state.is_main_process else None
            usable = isinstance(content, dict) and content.get("made_from") == key
            found = broadcast_object_list([content["rows"] if usable else None])[0]
            if found is None:
                mine = list(rows[state.process_index :: state.num_processes])
                made = work(mine) if mine else []
                shares = gather_object([*zip(mine, made, strict=True)])
                found = [result for _, result in sorted(shares, key=lambda share: share[0])]
                if state.is_main_process:
                    kept.write_value(file, {"made_from": key, "rows": found})
            results += found
        return results

    def drop(self) -> None:
        """Remove all chunks, when what was made of them is on disk."""
        if self.directory.is_dir():
            kept.drop_all(self.directory)
            self.directory.rmdir()


def identity(path: str | Path) -> list[Any]:
    """Return what tells a model's directory from a later one of that name, without reading it: for `made_from`.

    Name, size and time of each file. A Hub id is itself: what the Hub has under it may change unnoticed.
    """
    if not is_local(path):
        return [str(path)]
    path = Path(path).resolve()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
