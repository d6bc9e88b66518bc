"""The lines of a run's plots: curves of each stage, and the plane of reward against KL."""

from collections.abc import Iterable

import numpy as np

from summarize_rlhf.records import at, parts
from summarize_rlhf.report_page.material import Material, Stage
from summarize_rlhf.report_page.numbers import Record, estimate, number, rows

MOST_POINTS = 400  # of a line
CURVES = (  # stage, title, name in metrics.jsonl while training, name at evaluations
    ("sft", "Loss, nats a token", "loss", "eval_loss"),
    ("sft", "Norm of the gradient", "grad_norm", None),
    ("sft", "Learning rate", "learning_rate", None),
    ("rm", "Loss", "loss", "eval_loss"),
    ("rm", "Accuracy on held-out pairs", None, "eval_accuracy"),
    ("rm", "Margin, chosen less rejected", None, "eval_margin"),
    ("rm", "Norm of the gradient", "grad_norm", None),
    ("ppo", "Reward over the label’s", "rollout_scores/mean", "reward/mean"),
    ("ppo", "KL to the SFT model, nats a summary", "policy/kl", None),
    ("ppo", "Length, tokens", "rollouts/response_length", "rollouts/eval_length"),
    ("ppo", "Ended by EOS, share", "rollouts/eos_rate", None),
    ("ppo", "Entropy, nats a token", "rollouts/entropy", None),
    ("ppo", "Explained variance of the values", "values/explained_variance", None),
    ("ppo", "Clipped tokens, share", "policy/clipfrac", None),
    ("ppo", "Norm of the gradient", "policy/gradient_norm", None),
)
Line = dict[str, list[float]]


def curves(stage: Stage) -> list[Record]:
    """Return a stage's plots: title, and the lines `training` and `evaluation` by step, None where not logged."""
    found = [
        {"title": title, "training": line(stage.metrics, training), "evaluation": line(stage.metrics, evaluation)}
        for kind, title, training, evaluation in CURVES
        if kind == stage.kind
    ]
    return [plot for plot in found if plot["training"] or plot["evaluation"]]


def line(metrics: Iterable[Record], name: str | None, kl: Line | None = None) -> Line | None:
    """Return `name` by step; of a long log an even selection that keeps its end. None where it is never a number.

    With the line of `kl`, also the KL at these steps: between two of its own it is interpolated, behind the last it
    is the last one's.
    """
    found = [(number(row.get("step")), number(row.get(name))) for row in metrics if name in row]
    points = [point for point in found if None not in point]
    if not points:
        return None
    kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).round().astype(int))
    steps, values = zip(*(points[i] for i in kept), strict=True)
    drawn = {"step": list(steps), "value": list(values)}
    return drawn | ({"kl": np.interp(steps, kl["step"], kl["value"]).tolist()} if kl else {})


def plane(found: Material) -> Record | None:
    """Return what lies in the plane of reward over the label's (and gold) against KL to the SFT model.

    Of each PPO run its collections (`rollouts`) and its evaluations, of best-of-N the curve. None without any.
    """
    runs = []
    for stage in found.of("ppo"):
        kl = line(stage.metrics, "policy/kl")
        names = {"rollouts": "rollout_scores/mean", "evaluations": "reward/mean", "gold": "metrics/gold"}
        lines = {key: line(stage.metrics, name, kl) for key, name in names.items()}
        if lines["gold"] is None and stage.name == "ppo":  # the quickstart scores it at its end
            later = parts(found.summary, "gold_by_step").items()
            lines["gold"] = line([{"step": int(step), "gold": gold} for step, gold in later], "gold", kl)
        if kl and (lines["rollouts"] or lines["evaluations"]):
            runs.append({"name": stage.name} | lines)
    best = best_of_n(found.evaluation)
    return {"runs": runs, "best_of_n": best} if runs or best else None


def best_of_n(evaluation: Record | None) -> Record | None:
    """Return the curve of best-of-N as reward over the label's, with the bound log N − (N − 1)/N of its KL."""

    def values(row: Record, *names: str) -> list[float | None]:
        return [at(estimate(row.get(name)), "value") for name in names]

    points = [values(row, "n", "kl_bound", "reward", "gold") for row in rows(evaluation, "best_of_n", "curve")]
    points = [point for point in points if None not in point[1:3]]
    (label,) = values(parts(evaluation, "label"), "reward")
    if not points or label is None:
        return None
    n, kl, reward, gold = map(list, zip(*points, strict=True))
    model = at(evaluation, "best_of_n", "model")
    return {"model": model, "n": n, "kl": kl, "reward": [x - label for x in reward], "gold": gold}
