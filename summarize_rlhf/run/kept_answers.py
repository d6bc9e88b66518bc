"""Answers that cost money or minutes, kept on disk as soon as they are given, one JSON object a line."""

import hashlib
import json
from pathlib import Path
from typing import Any

from summarize_rlhf.run.json_lines import JsonLines


class KeptAnswers(dict):
    """A dictionary from questions (tuples of text) to numbers that is also a file; a new answer is added to both.

    A line that is torn or changed is not used. One process writes it.
    """

    def __init__(self, path: Path):
        self.log = JsonLines(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.is_file() else b""
        super().__init__(filter(None, map(_read, content.splitlines())))
        if content and not content.endswith(b"\n"):
            self.log.append([{}])  # closes a torn line

    def __setitem__(self, question: tuple[str, ...], answer: float) -> None:
        super().__setitem__(question, answer)
        self.log.append([{"question": question, "answer": answer, "sha256": _hash(question, answer)}])


def _read(line: bytes) -> tuple[tuple[str, ...], float] | None:
    try:
        row = json.loads(line)
        question, answer = tuple(row["question"]), row["answer"]
        return (question, answer) if row["sha256"] == _hash(question, answer) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _hash(question: Any, answer: Any) -> str:
    return hashlib.sha256(json.dumps([list(question), answer]).encode()).hexdigest()
