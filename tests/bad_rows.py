"""Training rows that are wrong, and what the one line of error says."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from good_input import Fault, Values, World
from tiny import comparison_row, tldr_row, write_rows

ROWS = {
    "sft": lambda: [tldr_row(random.Random(i)) for i in range(16)],
    "rm": lambda: [comparison_row(random.Random(i)) for i in range(16)],
}
ROWS["ppo"] = ROWS["sft"]
COLUMN = {"sft": "label", "rm": "rejected", "ppo": "label"}


def data(spoil: Callable[[list[dict], str], bytes | list]) -> Callable[[str], Fault]:
    """A fault of the training rows: `spoil(rows, column)` gives rows, or the bytes of the file."""

    def of(stage: str) -> Fault:
        def fault(_world: World, tmp: Path) -> Values:
            spoilt = spoil(ROWS[stage](), COLUMN[stage])
            for split in ("train", "valid", "test"):
                write_rows(tmp / f"{split}.jsonl", ROWS[stage]())
            if isinstance(spoilt, bytes):
                (tmp / "train.jsonl").write_bytes(spoilt)
            else:
                write_rows(tmp / "train.jsonl", spoilt)
            return {"dataset": tmp}

        return fault

    return of


def lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def third(rows: list[dict], **changes: Any) -> list[dict]:
    return [*rows[:2], rows[2] | changes, *rows[3:]]


DATA = {
    "no column": (
        data(lambda rows, c: [{k: v for k, v in r.items() if k != c} for r in rows]),
        "row 1: no column '{c}'",
    ),
    "empty cell": (data(lambda rows, c: third(rows, **{c: " \n"})), "row 3: column '{c}' is empty; fill it in"),
    "a number": (data(lambda rows, c: third(rows, **{c: 7})), "row 3: column '{c}' should be text, but is int"),
    "half a character": (
        data(lambda rows, c: third(rows, **{c: "\ud83d"})),
        "column '{c}' holds half a character at 0",
    ),
    "a list": (data(lambda rows, c: third(rows, **{c: ["a"]})), "row 3: column '{c}' should be text, but is list"),
    "not UTF-8": (
        data(lambda rows, c: lines(rows) + b'{"prompt": "\xff\xfe"}\n'),
        "not UTF-8 text (invalid start byte",
    ),
    "cut off": (data(lambda rows, c: lines(rows)[:-30]), "row 16: no valid JSON"),
    "no rows": (data(lambda rows, c: b""), "train.jsonl has no rows"),
    "no objects": (data(lambda rows, c: b"[1, 2]"), "row 1: expected an object with columns, found int"),
}
SUMMARIES = {
    "no TL;DR": (data(lambda rows, c: third(rows, prompt="POST: x")), "the prompt should end with 'TL;DR:'"),
    "no room": (data(lambda rows, c: third(rows, label="money " * 200)), "a summary needs"),
}


def same(rows: list[dict], _column: str) -> list[dict]:
    return [row | {"rejected": row["chosen"]} for row in rows]


PAIRS = {"only equal pairs": (data(same), "no usable pair among 16 rows: 16 with equal summaries")}
