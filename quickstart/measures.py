"""Measure each summary, and how PPO's differ from SFT's over posts and seeds."""

import csv
import json
from pathlib import Path
from statistics import fmean

from quickstart.gold import gold_score
from quickstart.traits import traits
from summarize_rlhf.intervals import Interval, bootstrap, paired_bootstrap, t_interval
from summarize_rlhf.report import from_cell

WAYS = {"greedy": "greedy", "sample": "sampled"}  # of decoding, and the word for it
OF_ANY_TEXT = ("gold", "kept", "invented", "side", "words", "copied")  # without a model
OF_A_MODEL = ("reward", *OF_ANY_TEXT, "tokens", "ended")
Measured = dict[str, list[float]]  # a value per post, by name of the measure


def read_csv(path: Path) -> dict[str, list[str]]:
    """Read a CSV file as columns."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [from_cell(row[name]) for row in rows] for name in rows[0]}


def measure(prompts: list[str], texts: list[str]) -> Measured:
    """Measure `OF_ANY_TEXT` of summaries `texts`."""
    rows = [{"gold": gold_score(*both), **traits(*both)} for both in zip(prompts, texts, strict=True)]
    return {name: [row[name] for row in rows] for name in OF_ANY_TEXT}


def measure_model(table: dict[str, list[str]]) -> Measured:
    """Measure `OF_A_MODEL`, and `kl` if present, of a table that trlx_inference_gptj.py wrote."""
    own = [name for name in ("reward", "tokens", "ended", "kl") if name in table]
    return {name: [float(x) for x in table[name]] for name in own} | measure(table["prompt"], table["summary"])


def told_apart(scored: Path) -> dict[str, float]:
    """Return by kind of probe in how many pairs the chosen summary scores higher; ties count one half.

    `scored`: `reading_probes.jsonl` as reward_model/score.py wrote it.
    """
    right: dict[str, list[float]] = {}
    for row in map(json.loads, scored.read_text(encoding="utf-8").splitlines()):
        margin = row["chosen_score"] - row["rejected_score"]
        right.setdefault(row["kind"], []).append(0.5 if margin == 0 else float(margin > 0))
    return {kind: fmean(values) for kind, values in right.items()}


def gold_of_evaluations(samples: Path) -> dict[int, list[float]]:
    """Return the gold score of each sample of PPO's evaluations (`samples.jsonl`), by training batch."""
    scores: dict[int, list[float]] = {}
    for row in map(json.loads, samples.read_text(encoding="utf-8").splitlines()):
        scores.setdefault(row["step"], []).append(gold_score(row["prompt"], row["output"]))
    return scores


def end_less_best(scores: dict[int, list[float]]) -> Interval:
    """Return PPO's gold at its last evaluation less that at its best, on the same posts, with a 95 % interval."""
    best = max(scores, key=lambda step: fmean(scores[step]))
    return paired_bootstrap(scores[max(scores)], scores[best])


def differences(runs: list[dict], name: str, way: str) -> list[list[float]]:
    """Subtract SFT's measure from PPO's, (S, N): a row per run (a summary.json), a column per post."""
    pairs = [(run["posts"][f"ppo_{way}"][name], run["posts"][f"sft_{way}"][name]) for run in runs]
    return [[a - b for a, b in zip(ppo, sft, strict=True)] for ppo, sft in pairs]


def over_seeds(runs: list[dict], name: str, way: str) -> tuple[Interval, Interval]:
    """Return intervals of PPO less SFT over all runs and posts: by t, and by bootstrap."""
    given = differences(runs, name, way)
    return t_interval(given), bootstrap(given)


def mean_of(runs: list[dict], model: str, name: str, way: str | None = None) -> float:
    """Average a measure over posts and runs; `model` is sft, ppo or reference (the labels' key)."""
    return fmean(fmean(run["posts"][f"{model}_{way}" if way else model][name]) for run in runs)


def trend(gain: Interval) -> str:
    """Say in words what an interval allows one to conclude about a difference."""
    return "rise" if gain["low"] > 0 else "fall" if gain["high"] < 0 else "neither rise nor fall beyond the noise"


def shown(gain: Interval, digits: int = 2) -> str:
    """Format as +0.50 (+0.25 to +0.75)."""
    mean, low, high = (f"{gain[key]:+.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"
