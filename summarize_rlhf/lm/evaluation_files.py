"""The directory that an evaluation is written into: never among another's files, and one evaluation's alone."""

import json
from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset

from summarize_rlhf import UserError
from summarize_rlhf.data import places
from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.run.files import check_results_dir, write_files
from summarize_rlhf.text import split_prompts

RECORD, SAMPLES = "evaluation.json", "samples.jsonl"


def summaries_file(name: str, way: str) -> str:
    """Return the name of the CSV file with a model's summaries."""
    return f"{name.lower()}_{way}.csv"


def check_evaluation_dir(directory: str | Path) -> None:
    """Check before any work that an evaluation may be written here. Raises `UserError`, also for a stage's directory.

    A stage has a `samples.jsonl` of its own, which an evaluation's would replace.
    """
    check_results_dir(directory)
    folder = Path(directory)
    samples = (folder / SAMPLES).exists() and not (folder / RECORD).exists()
    if samples or (folder / RUN_FILE).exists():
        there = SAMPLES if samples else RUN_FILE
        raise UserError(f"the output directory {directory} is a stage's ({there} is in it): name another --output_dir")


def write_evaluation(directory: str | Path, files: Mapping[str, str | bytes]) -> None:
    """Write an evaluation's files, all or none, and remove the summaries that an earlier one wrote of other models."""
    folder = Path(directory)
    stale = summaries_in(folder) - set(files)
    write_files(folder, files)
    for name in stale:
        (folder / name).unlink(missing_ok=True)


def summaries_in(folder: Path) -> set[str]:
    """Return the names of the CSV files that the evaluation in a directory has written; none where there is none."""
    try:
        ways = json.loads((folder / RECORD).read_text(encoding="utf-8"))["ways"]
        names = {summaries_file(name, way) for way, found in ways.items() for name in found["models"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
    return {name for name in names if Path(name).name == name}


def one_row_a_post(rows: Dataset) -> tuple[Dataset, int]:
    """Leave out rows whose post an earlier row has; return the others, and how many were left out.

    Intervals count posts: two rows of one are one draw.
    """
    first: dict[str, int] = {}
    for row, body in enumerate(split_prompts(rows["prompt"], places(rows))):
        first.setdefault(body, row)
    return rows.select(first.values()), len(rows) - len(first)
