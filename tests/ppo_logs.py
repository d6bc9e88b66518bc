"""The log of a PPO run."""

import json
from pathlib import Path


def metrics(out: Path) -> list[dict]:
    """metrics.jsonl without the figures of the machine, time and memory."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: x for key, x in line.items() if not key.startswith(("time/", "memory/"))} for line in lines]
