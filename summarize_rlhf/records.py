"""Find and read what the stages leave in their directories: the model's `run.json`, logs, tables."""

import json
import re
from pathlib import Path
from typing import Any

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.reading import reading

STAGES = ("sft", "rm", "ppo")
CHECKPOINT = re.compile(r"checkpoint[_-](\d+)$")


def model_in(directory: Path) -> Path | None:
    """Return the directory of the model that `directory` is or, for PPO, holds: the best one, else the newest."""
    checkpoints = [path for path in directory.glob("checkpoint*") if CHECKPOINT.search(path.name)]
    checkpoints.sort(key=lambda path: -int(CHECKPOINT.search(path.name)[1]))
    holders = (directory / "best_checkpoint", *checkpoints, directory)
    models = (directory, *(holder / "hf_model" for holder in holders))
    return next((model for model in models if (model / RUN_FILE).is_file()), None)


def read_json(file: Path, kind: type = dict) -> Any:
    """Return the object, or what else of `kind`, in a file; None where there is no file. In it NaN is None, too.

    Raises `UserError` for a file that cannot be read or holds something else.
    """
    if not file.is_file():
        return None
    with reading(file, "JSON file", "write it anew, or move it away"):
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    if not isinstance(content, kind):
        wanted = {dict: "object", list: "list"}[kind]
        raise UserError(f"{file} should hold a JSON {wanted}, not a {type(content).__name__}: write it anew")
    return content


def read_lines(file: Path, torn: bool = False) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file, none where there is no file.

    A line that is no object, as one is that is `torn` by a kill, is left out where that is allowed, and else a
    `UserError`.
    """
    if not file.is_file():
        return []
    found = []
    with reading(file, "log"):
        for line in file.read_text(encoding="utf-8", errors="replace" if torn else "strict").split("\n"):
            try:
                found += [json.loads(line)] if line.strip() else []
            except (ValueError, RecursionError):
                if not torn:
                    raise
        rows = [row for row in found if isinstance(row, dict)]
        if len(rows) < len(found) and not torn:
            raise ValueError("a line is no JSON object")
    return rows


def at(record: Any, *path: str) -> Any:
    """Return what lies at a path of names in a record, None where it leads nowhere."""
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def parts(record: Any, *path: str) -> dict[str, Any]:
    """Return a section of a record, empty where there is none."""
    found = at(record, *path)
    return found if isinstance(found, dict) else {}
