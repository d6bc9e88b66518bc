"""What a run left, found and read once: records, logs, tables, the reward model's card, the doctor's lines.

A file that is missing is None or empty here; one that cannot be read is a `UserError` that names it. What a file lacks
is left out of the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.reading import reading
from summarize_rlhf.records import CHECKPOINT, STAGES, model_in, read_json, read_lines
from summarize_rlhf.report_page.numbers import Record, rows


@dataclass
class Stage:
    """A finished model: `kind` of `STAGES`, `name` of its folder, its run.json, its log and the reward model's card."""

    kind: str
    name: str
    record: Record
    metrics: list[Record]
    card: Record | None = None


@dataclass
class Material:
    """What the given directories hold. `seconds` is by stage; `summary` is the quickstart's summary.json."""

    name: str
    stages: list[Stage] = field(default_factory=list)
    evaluation: Record | None = None
    samples: list[Record] = field(default_factory=list)
    doctor: list[Record] = field(default_factory=list)
    summary: Record | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def of(self, kind: str) -> list[Stage]:
        return [stage for stage in self.stages if stage.kind == kind]


def find(directories: Sequence[Path]) -> Material:
    """Read all that lies in `directories` and in the folders directly below them; of several tables the first.

    Raises `UserError` for a directory that is not there, one in which no run left anything, or a damaged file.
    """
    found, folders = Material(" · ".join(dict.fromkeys(path.resolve().name for path in directories))), []
    for given in directories:
        if not given.is_dir():
            raise UserError(f"{given} is no directory: name one that a stage or trlx_inference_gptj.py wrote")
        below = sorted(path for path in given.iterdir() if path.is_dir() and not CHECKPOINT.search(path.name))
        folders += [given, *below]
    models: dict[Path, Path] = {}  # and the folder in which each was found
    for folder in folders:
        if model := model_in(folder):
            models.setdefault(model.resolve(), folder)
        if found.evaluation is None:
            found.evaluation = read_json(folder / "evaluation.json")
            found.samples = read_lines(folder / "samples.jsonl", torn=True) if found.evaluation else []
        found.doctor = found.doctor or rows(read_json(folder / "doctor.json", list))
        found.summary = found.summary or read_json(folder / "summary.json")
        for file in sorted((folder / "seconds").glob("*")):
            with reading(file, "time of a stage"):
                found.seconds.setdefault(file.name, float(file.read_text(encoding="utf-8")))
    for model, folder in models.items():
        record = read_json(model / RUN_FILE)
        if record.get("stage") in STAGES:
            log, card = read_lines(folder / "metrics.jsonl", torn=True), read_json(model / "card.json")
            found.stages.append(Stage(record["stage"], folder.name, record, log, card))
    found.stages.sort(key=lambda stage: STAGES.index(stage.kind))
    if found == Material(found.name):
        raise UserError(
            f"{', '.join(map(str, directories))}: nothing that a run writes is there (no {RUN_FILE}, evaluation.json). "
            "Name a stage's directory, or the folder that holds the stages"
        )
    return found
