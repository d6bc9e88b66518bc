"""Find and read what a run left: records, logs, tables, the reward model's card, the doctor's lines.

A file that is missing is None or empty here; one that cannot be read is a `UserError` that names it. What a file lacks
is for `facts` to leave out.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.reading import reading
from summarize_rlhf.report_page.numbers import rows

STAGES = ("sft", "rm", "ppo")
CHECKPOINT = re.compile(r"checkpoint[_-](\d+)$")


@dataclass
class Stage:
    """A finished model: `kind` of `STAGES`, `name` of its folder, its run.json, its log and the reward model's card."""

    kind: str
    name: str
    record: dict[str, Any]
    metrics: list[dict[str, Any]]
    card: dict[str, Any] | None = None


@dataclass
class Material:
    """What the given directories hold. `seconds` is by stage; `summary` is the quickstart's summary.json."""

    name: str
    stages: list[Stage] = field(default_factory=list)
    evaluation: dict[str, Any] | None = None
    samples: list[dict[str, Any]] = field(default_factory=list)
    doctor: list[dict[str, Any]] | None = None
    summary: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def of(self, kind: str) -> list[Stage]:
        return [stage for stage in self.stages if stage.kind == kind]


def find(directories: Sequence[Path]) -> Material:
    """Read all that lies in `directories` and in the folders directly below them.

    Raises `UserError` for a directory that is not there, one in which no run left anything, or a damaged file.
    """
    found = Material(name=" · ".join(dict.fromkeys(path.resolve().name for path in directories)))
    seen: set[Path] = set()
    for given in directories:
        if not given.is_dir():
            raise UserError(f"{given} is no directory: name one that a stage or trlx_inference_gptj.py wrote")
        below = sorted(path for path in given.iterdir() if path.is_dir() and not CHECKPOINT.search(path.name))
        for folder in (given, *below):
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                _read_folder(folder, found, seen)
    found.stages.sort(key=lambda stage: STAGES.index(stage.kind))
    if found == Material(found.name):
        raise UserError(
            f"{', '.join(map(str, directories))}: nothing that a run writes is there (no {RUN_FILE}, evaluation.json). "
            "Name a stage's directory, or the folder that holds the stages"
        )
    return found


def _read_folder(folder: Path, found: Material, seen: set[Path]) -> None:
    model = model_in(folder)
    if model is not None and (model == folder or model.resolve() not in seen):
        seen.add(model.resolve())
        record = read_object(model / RUN_FILE)
        if record.get("stage") in STAGES:
            metrics = read_lines(folder / "metrics.jsonl")
            card = read_object(model / "card.json") if (model / "card.json").is_file() else None
            found.stages.append(Stage(record["stage"], folder.name, record, metrics, card))
    if found.evaluation is None and (folder / "evaluation.json").is_file():
        found.evaluation = read_object(folder / "evaluation.json")
        found.samples = read_lines(folder / "samples.jsonl")
    if found.doctor is None and (folder / "doctor.json").is_file():
        found.doctor = rows({"doctor": read_json(folder / "doctor.json")}, "doctor")
    if found.summary is None and (folder / "summary.json").is_file():
        found.summary = read_object(folder / "summary.json")
    for file in sorted((folder / "seconds").glob("*")):
        with reading(file, "time of a stage"):
            found.seconds.setdefault(file.name, float(file.read_text(encoding="utf-8")))


def model_in(folder: Path) -> Path | None:
    """Return the directory of the model that `folder` is or, for PPO, holds: the best one, else the newest."""
    checkpoints = [path for path in folder.iterdir() if path.is_dir() and CHECKPOINT.search(path.name)]
    checkpoints.sort(key=lambda path: -int(CHECKPOINT.search(path.name)[1]))
    places = [folder / "best_checkpoint/hf_model", *(path / "hf_model" for path in checkpoints), folder / "hf_model"]
    return next((path for path in (folder, *places) if (path / RUN_FILE).is_file()), None)


def read_json(file: Path) -> Any:
    with reading(file, "JSON file", "write it anew, or move it away"):
        return json.loads(file.read_text(encoding="utf-8"))


def read_object(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(f"{file} should hold a JSON object, not a {type(content).__name__}: write it anew")
    return content


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Read a log of JSON objects, none where there is no file. A line that is torn, at a kill, is left out."""
    if not file.is_file():
        return []
    with reading(file, "log"):
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    return list(_objects(lines))


def _objects(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row
