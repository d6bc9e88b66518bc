"""The lines of a run's plots: curves of each stage, and the plane of reward against KL."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from summarize_rlhf.report_page.material import Material, Stage
from summarize_rlhf.report_page.numbers import estimate, number, parts, rows

MOST_POINTS = 400  # of a line
# Title, name in metrics.jsonl while training, name at evaluations.
CURVES = {
    "sft": (
        ("Loss, nats a token", "loss", "eval_loss"),
        ("Norm of the gradient", "grad_norm", None),
        ("Learning rate", "learning_rate", None),
    ),
    "rm": (
        ("Loss", "loss", "eval_loss"),
        ("Accuracy on held-out pairs", None, "eval_accuracy"),
        ("Margin, chosen less rejected", None, "eval_margin"),
        ("Norm of the gradient", "grad_norm", None),
    ),
    "ppo": (
        ("Reward over the label’s", "rollout_scores/mean", "reward/mean"),
        ("KL to the SFT model, nats a summary", "policy/kl", None),
        ("Length, tokens", "rollouts/response_length", "rollouts/eval_length"),
        ("Ended by EOS, share", "rollouts/eos_rate", None),
        ("Entropy, nats a token", "rollouts/entropy", None),
        ("Explained variance of the values", "values/explained_variance", None),
        ("Clipped tokens, share", "policy/clipfrac", None),
        ("Norm of the gradient", "policy/gradient_norm", None),
    ),
}
Line = dict[str, list[float]]


def curves(stage: Stage) -> list[dict[str, Any]]:
    """Return a stage's plots: title, and the lines `training` and `evaluation` by step, None where not logged."""
    drawn = []
    for title, *names in CURVES[stage.kind]:
        training, evaluation = (line(stage.metrics, name) for name in names)
        if training or evaluation:
            drawn.append({"title": title, "training": training, "evaluation": evaluation})
    return drawn


def line(metrics: Iterable[dict[str, Any]], name: str | None) -> Line | None:
    """Return `name` by step; of a long log an even selection that keeps its end. None where it is never a number."""
    found = [(number(row.get("step")), number(row.get(name))) for row in metrics if name in row]
    points = [point for point in found if None not in point]
    if not points:
        return None
    kept = sorted({round(i) for i in np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS))})
    steps, values = zip(*(points[i] for i in kept), strict=True)
    return {"step": list(steps), "value": list(values)}


def plane(found: Material) -> dict[str, Any] | None:
    """Return what lies in the plane of reward over the label's (and gold) against KL to the SFT model.

    Of each PPO run its collections and its evaluations; of best-of-N the curve. An evaluation has the KL of the
    collections before and after it, interpolated by step (behind the last: the last one's). None without any.
    """
    runs = [run for stage in found.of("ppo") if (run := ppo_path(stage, found.summary))]
    best = best_of_n(found.evaluation or {})
    return {"runs": runs, "best_of_n": best} if runs or best else None


def ppo_path(stage: Stage, summary: dict[str, Any] | None) -> dict[str, Any] | None:
    kl, reward, rollouts = (line(stage.metrics, name) for name in ("policy/kl", "reward/mean", "rollout_scores/mean"))
    if kl is None or (reward is None and rollouts is None):
        return None

    def at(steps: list[float]) -> list[float]:
        return np.interp(steps, kl["step"], kl["value"]).tolist()

    gold = line(stage.metrics, "metrics/gold")
    if gold is None and stage.name == "ppo" and parts(summary, "gold_by_step"):
        steps = [{"step": int(step), "gold": value} for step, value in parts(summary, "gold_by_step").items()]
        gold = line(steps, "gold")
    lines = {"rollouts": rollouts, "evaluations": reward, "gold": gold}
    return {"name": stage.name} | {
        name: given and given | {"kl": at(given["step"])} for name, given in lines.items()
    }  # fmt: skip


def best_of_n(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """Return the curve of best-of-N as reward over the label's, with the bound log N − (N − 1)/N of its KL."""
    best, label = parts(evaluation, "best_of_n"), estimate(parts(evaluation, "label").get("reward"))
    points = [
        row for row in rows(best, "curve") if estimate(row.get("reward")) and number(row.get("kl_bound")) is not None
    ]
    if not points or not label:
        return None
    return {
        "model": best.get("model"),
        "n": [number(row.get("n")) for row in points],
        "kl": [row["kl_bound"] for row in points],
        "reward": [estimate(row["reward"])["value"] - label["value"] for row in points],
        "gold": [(estimate(row.get("gold")) or {"value": None})["value"] for row in points],
    }
