"""evaluation.md: the tables of evaluation.json, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from summarize_rlhf.evaluation.record import FIGURES, OF_LABEL
from summarize_rlhf.report import format_table

TITLES = {
    "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum",
    "reward_over_label": "reward less the label's", "eos_rate": "ended by EOS", "repetition": "repeated 4-grams",
    "copied_4grams": "4-grams copied from the post", "kl_to_first": "KL to the first model, nats",
    "kl_to_first_sampled": "the same, sampled estimate",
}  # fmt: skip


def shown(estimate: Mapping[str, Any] | None, digits: int = 3, percent: bool = False) -> str:
    """Format an estimate: "0.431 (0.402 to 0.459)"; as a percentage, or nothing where it was not measured."""
    if estimate is None:
        return ""
    scale, digits, sign = (100, 0, " %") if percent else (1, digits, "")
    value = f"{scale * estimate['value']:.{digits}f}{sign}"
    if estimate["low"] is None:
        return value
    return f"{value} ({scale * estimate['low']:.{digits}f} to {scale * estimate['high']:.{digits}f})"


def sentence(row: Mapping[str, Any]) -> str:
    """Say in one line how a comparison ended."""
    second = "the human summary" if row["second"] == "label" else row["second"]
    parts = [f"wins {shown(row['win_rate'], percent=True)}"]
    if row["length_controlled"] is not None:
        parts.append(f"at equal length {shown(row['length_controlled'], percent=True)}")
    if row["difference"] is not None:
        parts.append(f"difference in reward {shown(row['difference'])}")
    return f"{row['first']} against {second}: {row['verdict']}. {'; '.join(parts)}. {row['power']}."


def figures_table(models: Mapping[str, Mapping], label: Mapping) -> str:
    """Return a row a figure, a column a model."""
    rows = []
    for name in FIGURES:
        cells = {model: shown(found[name]) for model, found in models.items()}
        cells["label"] = shown(label.get(name)) if name in OF_LABEL else ""
        if any(cells.values()):
            rows.append({"": TITLES.get(name, name), **cells})
    return format_table(rows)


def comparisons_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return format_table(
        [
            {
                "first": row["first"],
                "second": row["second"],
                "win rate": shown(row["win_rate"], percent=True),
                "at equal length": shown(row["length_controlled"], percent=True),
                "reward less the second's": shown(row["difference"]),
                "the first is": row["verdict"],
                "power": row["power"],
            }
            for row in rows
        ]
    )


def section(title: str, found: Mapping[str, Any]) -> list[str]:
    """Return the figures, comparisons and warnings of one way of decoding."""
    told = [
        f"- {row['first']} against {row['second']}: {row['warning']}" for row in found["comparisons"] if row["warning"]
    ]
    return [
        f"## {title}", figures_table(found["models"], found["label"]), comparisons_table(found["comparisons"]),
        "\n".join(told),
    ]  # fmt: skip


def best_of_n_section(best: Mapping[str, Any]) -> list[str]:
    rows = [
        {"n": point["n"], "reward": shown(point["reward"]), "KL, at most": f"{point['kl_bound']:.2f}"}
        | ({"gold": shown(point["gold"])} if "gold" in point else {})
        for point in best["curve"]
    ]
    told = f"{best['samples']} samples of each of {best['posts']} posts; KL in nats, an upper bound."
    return [f"## Best of N of {best['model']}", told, format_table(rows)]


def judge_section(judge: Mapping[str, Any]) -> list[str]:
    told = (
        f"Agreement with {judge['pairs']} pairs that were judged before: κ = {shown(judge['kappa'], 2)}. Asked in both "
        f"orders; the same answer in both: {100 * judge['consistent']:.0f} %. Not comparable with any other judge."
    )
    return [f"## Judged by {judge['name']}", told, comparisons_table(judge["comparisons"])]


def page(record: Mapping[str, Any]) -> str:
    """Return evaluation.md of a record."""
    intro = (
        f"{record['posts']} posts of {record['data']['name']} [{record['data']['split']}], seed {record['seed']}. In "
        "brackets 95 % intervals over posts. Wins are by the reward model, ties count ½. docs/evaluation.md explains "
        "each figure and how it can mislead."
    )
    parts = ["# Evaluation", intro]
    for way, found in record["ways"].items():
        parts += section({"greedy": "Greedy summaries", "sample": "Sampled summaries"}[way], found)
    if record["best_of_n"] is not None:
        parts += best_of_n_section(record["best_of_n"])
    if record["judge"] is not None:
        parts += judge_section(record["judge"])
    return "\n\n".join(filter(None, parts)) + "\n"
