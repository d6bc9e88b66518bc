"""What a run has logged."""

import json
from pathlib import Path
from typing import Any

MACHINE = ("runtime", "per_second", "time/", "memory/")  # parts of the names of metrics that measure the machine


def lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a log, without the machine's figures."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [{key: x for key, x in row.items() if not any(word in key for word in MACHINE)} for row in rows]


def metrics(out: Path) -> list[dict[str, Any]]:
    """Those of a run's metrics.jsonl."""
    return lines(out / "metrics.jsonl")
