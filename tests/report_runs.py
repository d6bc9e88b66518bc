"""A run as the stages, the tables, the reward model's card and the doctor leave it: small files of made-up figures."""

import json
from pathlib import Path
from typing import Any

POSTS = 30
NASTY = '</pre><script>alert("x")</script><img src=http://x> & "q" \x1b[31m\x00 \u202egnp.exe 👩‍👩‍👧 a\u00a0b ``` | end'


def e(value: float, reach: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - reach, "high": value + reach}


def evaluation(**changes: Any) -> dict[str, Any]:
    measures = {"rouge1": e(0.4), "reward": e(0.5), "tokens": e(20), "eos_rate": e(0.9), "gold": e(2.0)}
    comparison = {"first": "ppo", "second": "sft", "win_rate": e(0.7), "length_controlled": e(0.65)}
    comparison |= {"difference": e(1.2), "verdict": "better", "detectable": 0.07, "warning": "lengths differ"}
    curve = [{"n": n, "reward": e(0.5 * i), "kl_bound": 0.4 * i, "gold": e(1.0 * i)} for i, n in enumerate((1, 2, 4))]
    return {
        "posts": POSTS,
        "confidence": 0.95,
        "models": {"sft": measures, "ppo": measures | {"reward": e(1.7)}},
        "label": {"reward": e(-0.5), "tokens": e(25), "copied_4grams": None},
        "comparisons": [comparison],
        "best_of_n": {"model": "sft", "samples": 4, "curve": curve},
        "gain": {"first": "ppo", "second": "sft", "total": e(1.2), "length": e(0.4), "copying": e(0.1), "rest": e(0.7)},
    } | changes


def samples(gold: float = 0.5) -> list[dict[str, Any]]:
    """Post i gains i/10 − 1 in reward, and `gold` of it in gold; the text of post 7 would be HTML."""
    rows = []
    for i in range(POSTS):
        change, text = i / 10 - 1, NASTY if i == 7 else f"summary {i}"
        models = {
            name: {"text": f"{name} {text}", "reward": reward, "tokens": 9, "ended": True, "gold": 2 + gold * reward}
            for name, reward in (("sft", 0.0), ("ppo", change))
        }
        label = {"text": f"label {text}", "reward": 0.1, "gold": 1.0}
        rows.append({"post": i, "prompt": f"POST: {text}\nTL;DR:", "label": label, **models})
    return rows


CARD = {
    "pairs": 100,
    "accuracy": e(0.8),
    "rules": {"longer": 0.6, "more_copied": None},
    "ceiling": 0.95,
    "calibration": {"ece": 0.04, "bins": [{"confidence": 0.6, "accuracy": 0.55, "pairs": 40}] * 2},
    "correlations": {"length": 0.3},
    "other_post": {"accuracy": 0.5},
    "probes": {"twice": {"description": "the summary <twice>", "beats_label": 0.6, "mean_difference": 0.2}},
    "paragraph": "It likes <long> summaries.",
}
DOCTOR = [{"stage": "rm", "status": "suspect", "cause": "length", "evidence": "r = .3 <with> length", "next": "look"}]


def record(stage: str) -> dict[str, Any]:
    arguments = {"model": "gpt2", "method": {"init_kl_coef": 0.1}, "train": {"epochs": 3}}
    data = {"train": {"rows": 1200, "sha256": "ab" * 32}}
    versions = {"torch": "2.13.0"}
    return {"stage": stage, "arguments": arguments, "data": data, "seed": 4, "commit": "c0ffee", "versions": versions}


def ppo_metrics() -> list[dict[str, float]]:
    """Collections at steps 0, 10, 20 with a KL of 0, 1, 4; evaluations at 0, 15, 30."""
    collections = [{"step": 10 * i, "policy/kl": i**2, "rollout_scores/mean": i / 2} for i in range(3)]
    evaluations = [{"step": 15 * i, "reward/mean": i - 0.5, "metrics/gold": 2.0 + i} for i in range(3)]
    return sorted(collections + evaluations, key=lambda row: row["step"])


def write(file: Path, *rows: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_run(folder: Path) -> Path:
    """Write a whole run into `folder`, laid out as the quickstart does, and return it."""
    write(folder / "sft/run.json", record("sft"))
    write(
        folder / "sft/metrics.jsonl", {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "eval_loss": 1.5}
    )
    write(folder / "rm/run.json", record("rm"))
    write(folder / "rm/metrics.jsonl", {"step": 5, "eval_accuracy": 0.8})
    write(folder / "rm/card.json", CARD)
    write(folder / "ppo/metrics.jsonl", *ppo_metrics())
    write(folder / "ppo/checkpoint_9/hf_model/run.json", record("ppo"))
    write(folder / "ppo/best_checkpoint/hf_model/run.json", record("ppo"))
    write(folder / "inference/evaluation.json", evaluation())
    write(folder / "inference/samples.jsonl", *samples())
    write(folder / "doctor.json", DOCTOR)
    for name in ("sft", "rm"):
        write(folder / f"seconds/{name}", 61)
    return folder
