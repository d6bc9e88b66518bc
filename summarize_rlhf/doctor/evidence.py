"""What a run has left, read once: a plain dataclass per stage. What is missing is None, or an empty list.

Losses are in nats; a share lies between 0 and 1. Nothing is computed here that needs weights: see `probes.py`. A figure
that is no finite number counts as not logged; `not_finite` names the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from summarize_rlhf import UserError
from summarize_rlhf.doctor.logs import Log, dotted, read_metrics
from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.lm.adapters import weights_digest
from summarize_rlhf.reading import reading
from summarize_rlhf.records import STAGES, model_in, parts, read_json, read_lines
from summarize_rlhf.rouge import rouge
from summarize_rlhf.text import split_prompt

BEST = "best_checkpoint/hf_model"  # in PPO's directory
SHOWN = 100  # samples read of an evaluation
LOGGED = Log()
OF_AN_UPDATE = {"policy/approx_kl", "policy/clipfrac", "values/values_error"}


class Point(NamedTuple):
    """A loss, and how far the optimizer had come: the sum of learning rates so far over their sum in all, 0 to 1."""

    way: float
    loss: float


@dataclass
class Training:
    """The curve of a supervised stage, in the order of its optimizer steps."""

    losses: list[Point] = field(default_factory=list)  # means since the line before
    evaluations: list[Point] = field(default_factory=list)
    passes: float | None = None  # over the training rows


@dataclass
class SFT:
    """Stage 1. From `rows_cut` on they are probes'."""

    directory: Path
    options: dict[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    log: Log = LOGGED
    rouge: float | None = None  # ROUGE-1 of greedy summaries
    lead_rouge: float | None = None  # of the post's first words, as many as the label has
    ended: float | None = None  # share of greedy summaries
    distinct: float | None = None  # share of different texts among greedy summaries
    rows_cut: float | None = None  # share of training rows whose post lost its end
    new_tokens: int = 50  # most tokens of a summary
    label_loss: float | None = None  # per token of held-out labels, their EOS left out
    eos_loss: float | None = None  # of the EOS that follows a label
    eos_again: float | None = None  # probability of a second EOS behind it
    base_eos_again: float | None = None  # the same of the model that SFT began with
    moved: float | None = None  # how far the weights are from those, in norms of those
    further_fall: float | None = None  # share of the held-out loss that a few further steps take off


@dataclass
class RM:
    """Stage 2. `pairs` and what stands behind it are of the test split, by the weights as PPO will ask them."""

    directory: Path
    options: dict[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    log: Log = LOGGED
    accuracies: list[float] = field(default_factory=list)  # of each evaluation
    eval_pairs: int | None = None
    trained_from: str | None = None  # digest of the SFT weights it began with
    sft: str | None = None  # digest of stage 1's
    pairs: int | None = None
    accuracy: float | None = None
    prefers_longer: float | None = None  # share of pairs of different length whose longer text scores higher
    longer_chosen: float | None = None  # share of those pairs whose longer text is the chosen one
    beats_shuffled: float | None = None  # share of labels that score above their own words in random order
    moved: float | None = None  # how far the weights are from those it began with, in norms of those
    card: dict[str, Any] = field(default_factory=dict)  # card.json, where the reward model was scored


@dataclass
class PPO:
    """Stage 3. `rounds` are the logged collections, `updates` those made on each, in order."""

    directory: Path
    options: dict[str, Any] = field(default_factory=dict)  # by dotted name
    rounds: list[dict[str, float]] = field(default_factory=list)
    updates: list[list[dict[str, float]]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)  # of each evaluation
    distinct: list[float] = field(default_factory=list)  # share of different texts among its samples
    evaluation: dict[str, Any] = field(default_factory=dict)  # evaluation.json
    log: Log = LOGGED

    def series(self, name: str) -> list[float]:
        """Return a figure of each collection that has it."""
        return [row[name] for row in self.rounds if row.get(name) is not None]


@dataclass
class Run:
    """One to three stages of one run."""

    sft: SFT | None = None
    rm: RM | None = None
    ppo: PPO | None = None


def load(directories: Sequence[str | Path]) -> Run:
    """Read the stages in `directories`: theirs, or a folder that holds them as `sft/`, `rm/` and `ppo/`.

    Raises `UserError` for a directory in which no stage has finished, for two of one stage, and for logs that no stage
    has written.
    """
    found: dict[str, Path] = {}
    evaluation: dict[str, Any] = {}
    for given in map(Path, directories):
        if not given.is_dir():
            raise UserError(f"{given} is no directory: name one that a stage wrote, or the folder that holds them")
        inside = [given / name for name in STAGES if stage_of(given / name)]
        for directory in inside if stage_of(given) is None else [given]:
            stage = stage_of(directory)
            if stage in found:
                raise UserError(f"{found[stage]} and {directory} are both of stage {stage!r}: name one run")
            found[stage] = directory
        if stage_of(given) is None and not inside:
            raise UserError(
                f"{given} holds no finished stage: no {RUN_FILE} in it that a stage wrote, nor in {BEST}, nor in "
                f"{', '.join(STAGES)}/ below it"
            )
        evaluation |= read_json(given / "inference/evaluation.json") or {}
    run = Run(**{stage: read_stage(stage, directory) for stage, directory in found.items()})
    if run.rm is not None and run.sft is not None:
        run.rm.sft = weights_digest(run.sft.directory)
    if run.ppo is not None:
        run.ppo.evaluation = evaluation
    return run


def record_of(directory: Path) -> dict[str, Any]:
    """Return what the run.json of a stage's directory says: for PPO that of its best policy, else of its last one."""
    model = model_in(directory)
    return read_json(model / RUN_FILE) if model else {}


def stage_of(directory: Path) -> str | None:
    """Return the stage that wrote a directory, or None."""
    stage = record_of(directory).get("stage")
    return stage if stage in STAGES else None


def read_stage(stage: str, directory: Path) -> Any:
    with reading(directory, "logs of the stage in", "are they as the stage wrote them?"):
        return READERS[stage](directory)


def read_sft(directory: Path) -> SFT:
    record, (lines, log) = record_of(directory), read_metrics(directory / "metrics.jsonl")
    results, options = parts(record, "results"), parts(record, "arguments")
    samples = read_lines(directory / "samples.jsonl")[:SHOWN]
    texts = [row["summary"] for row in samples if "summary" in row and "label" in row]
    return SFT(
        directory,
        options,
        curve(lines),
        log,
        rouge=results.get("generated_rouge1"),
        lead_rouge=lead_rouge(samples) if texts else None,
        ended=results.get("generated_ended"),
        distinct=len(set(texts)) / len(texts) if texts else None,
        rows_cut=results.get("rows_cut"),
        new_tokens=options.get("max_new_tokens", 50),
    )


def lead_rouge(samples: list[dict[str, Any]]) -> float:
    """Return ROUGE-1 of the beginnings of the posts, each as many words long as its label."""
    leads = []
    for row in samples:
        body = split_prompt(row["prompt"])
        post = body.partition("\nPOST: ")[2] or body
        leads.append(" ".join(post.split()[: len(row["label"].split())]))
    return rouge(leads, [row["label"] for row in samples])["rouge1"]


def read_rm(directory: Path) -> RM:
    record, (lines, log) = record_of(directory), read_metrics(directory / "metrics.jsonl")
    return RM(
        directory,
        parts(record, "arguments"),
        curve(lines),
        log,
        accuracies=[row["eval_accuracy"] for row in lines if "eval_accuracy" in row],
        eval_pairs=parts(record, "data", "test").get("rows"),
        trained_from=parts(record, "settings").get("model"),
        card=read_json(directory / "card.json") or {},
    )


def curve(lines: list[dict[str, Any]]) -> Training:
    """Return the curve that a Trainer's lines of metrics draw."""
    steps = [row for row in lines if "loss" in row and "learning_rate" in row]
    total, before = 0.0, 0
    way = {0: 0.0}  # by step
    for row in steps:
        total += row["learning_rate"] * (row["step"] - before)
        before = row["step"]
        way[before] = total

    def at(step: int) -> float:
        return way[max(known for known in way if known <= step)] / total

    if total == 0:
        return Training()
    losses = [Point(at(row["step"]), row["loss"]) for row in steps]
    evaluations = [Point(at(row["step"]), row["eval_loss"]) for row in lines if "eval_loss" in row]
    return Training(losses, evaluations, lines[-1].get("epoch"))


def read_ppo(directory: Path) -> PPO:
    record = record_of(directory)
    rounds, updates, rewards = [], [], []
    lines, log = read_metrics(directory / "metrics.jsonl")
    for row in lines:
        if "policy/kl" in row:
            rounds.append(row)
            updates.append([])
        elif updates and row.keys() >= OF_AN_UPDATE:
            updates[-1].append(row)
        elif "reward/mean" in row:
            rewards.append(row["reward/mean"])
    texts: dict[int, list[str]] = {}
    for row in read_lines(directory / "samples.jsonl"):
        texts.setdefault(row["step"], []).append(row["output"].strip())
    distinct = [len(set(outputs)) / len(outputs) for outputs in texts.values()]
    options = dotted(parts(record, "arguments"))
    return PPO(directory, options, rounds, updates, rewards, distinct, log=log)


READERS = {"sft": read_sft, "rm": read_rm, "ppo": read_ppo}


def late(values: Sequence[float]) -> float:
    """Return the mean of the last third, at least of the last value."""
    return fmean(values[-max(1, len(values) // 3) :])
