"""A file of scores that a kill cannot spoil: each batch is kept as a line with its hash; the output appears at the end.

Until then `<output>.part` has the lines, beside a record of what they are made from; after that `<output>` has a record
of its own (`summarize_rlhf/run/kept.py`). What is there from another input or another model is refused.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from summarize_rlhf import UserError
from summarize_rlhf.run import kept
from summarize_rlhf.run.files import disk_errors, sha256_of, sync_file, write_file

ANOTHER = "name another --output, or start over with --fresh, which replaces it"


class ScoreFile:
    """Scores of texts by number, on their way to `output`; one process at a time. `close` gives the lock back.

    `made_from` (plain JSON, by name) is all that a score depends on. `known` maps the numbers of texts to scores that
    an earlier start left; `finished` says that the output is there, made from the same. Raises `UserError` where it, or
    what was begun, is made from something else, and where another process is at work.
    """

    def __init__(self, output: Path, made_from: Mapping[str, Any], fresh: bool = False):
        self.output, self.part = output, output.with_name(output.name + ".part")
        self.made_from, self.known, self.finished = dict(made_from), {}, False
        begun = not fresh and self.part.exists() and self.part.stat().st_size > 0  # else there is nothing to lose
        if not begun and not fresh and output.exists():
            self._check(output, kept.read_value(output))
            if sha256_of(output) != kept.read_value(output)["sha256"]:
                raise UserError(f"{output} is not what was written (its hash differs): {ANOTHER}")
            self.finished = True
            return
        if begun:
            self._check(self.part, kept.read_value(self.part))
        with disk_errors(self.part):
            self.part.parent.mkdir(parents=True, exist_ok=True)
            self.lines = self.part.open("a+", encoding="utf-8", errors="replace")
        self._lock()
        if begun:
            self._read()
        else:
            self.lines.truncate(0)
            kept.write_value(self.part, {"made_from": self.made_from})

    def _check(self, file: Path, record: Any) -> None:
        """Refuse a file whose record does not say that it is made from the same."""
        if not isinstance(record, dict) or not isinstance(record.get("made_from"), dict):
            raise UserError(f"{file} is there, and nothing says what it was made from: {ANOTHER}")
        names = [name for name, value in self.made_from.items() if record["made_from"].get(name) != value]
        if names:
            raise UserError(f"{file} is there, made from another {' and another '.join(names)}: {ANOTHER}")

    def _lock(self) -> None:
        """Hold the file of lines, which must still be the one that its name leads to."""
        try:
            fcntl.flock(self.lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = self.part.exists() and os.path.samestat(os.fstat(self.lines.fileno()), self.part.stat())
        except BlockingIOError:
            there = False
        if not there:
            self.lines.close()
            raise UserError(f"another process is writing {self.output}: wait for it, or name another --output")

    def _read(self) -> None:
        """Take the scores of all whole lines; where a line is torn or damaged, its texts are scored again."""
        self.lines.seek(0)
        lines = self.lines.read().splitlines(keepends=True)
        good = []
        for line in lines:
            found = read_line(line)
            if found is not None:
                good.append(line)
                self.known.update(found)
        if len(good) < len(lines):
            print(f"{self.part}: {len(lines) - len(good)} of {len(lines)} batches are damaged and scored again")
            self.lines.truncate(0)
            self.lines.writelines(good)
            self.lines.flush()

    def add(self, numbers: Sequence[int], scores: Sequence[float]) -> None:
        """Keep the scores of a batch: one line, one write."""
        with disk_errors(self.part):
            self.lines.write(write_line(numbers, scores))
            self.lines.flush()
        self.known.update(zip(numbers, scores, strict=True))

    def finish(self, text: str) -> None:
        """Write the output and its record, and remove what was kept on the way."""
        write_file(self.output, text)
        kept.finish(self.output, self.made_from)
        sync_file(self.output.parent)
        kept.drop(self.part)
        self.close()

    def close(self) -> None:
        if not self.finished:
            self.lines.close()


def write_line(numbers: Sequence[int], scores: Sequence[float]) -> str:
    batch = [list(numbers), list(scores)]
    return json.dumps({"texts": batch[0], "scores": batch[1], "sha256": _hash(batch)}) + "\n"


def read_line(line: str) -> dict[int, float] | None:
    """Return the scores of a line by the texts' numbers; None for one that is not what `write_line` wrote."""
    try:
        found = json.loads(line)
        batch = [found["texts"], found["scores"]]
        whole = line.endswith("\n") and _hash(batch) == found["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return dict(zip(*batch, strict=True)) if whole else None


def _hash(batch: list[list]) -> str:
    return hashlib.sha256(json.dumps(batch).encode()).hexdigest()
