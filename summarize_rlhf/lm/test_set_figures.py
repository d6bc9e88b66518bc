"""From what was computed on a test set to the columns of each file, and to the figures of evaluation.json."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from summarize_rlhf.evaluation.best_of_n import curve
from summarize_rlhf.evaluation.estimates import per_post
from summarize_rlhf.evaluation.gain import gain
from summarize_rlhf.evaluation.record import (
    LABEL,
    by_post,
    comparisons,
    figures,
    label_figures,
    rouge_columns,
    text_columns,
)
from summarize_rlhf.lm.summariser import Summariser
from summarize_rlhf.lm.test_set import BestOf, Key, Results
from summarize_rlhf.tokenizer import prefix_ids, token_ids

Columns = dict[str, np.ndarray]  # (N, K) each
Gold = Callable[[Sequence[str], Sequence[str]], list[float]]  # prompts (N) and texts in rows (K·N) to scores (K·N)


def csv_columns(results: Results, key: Key) -> dict[str, list]:
    """Return the columns of a model's CSV file, a row a summary (K·N)."""
    given = results.summaries[key]
    times = len(given) // len(results.rows)
    columns = {
        "prompt": results.rows["prompt"][:] * times,
        "label": results.labels * times,
        "summary": [summary.text for summary in given],
        "reward": results.rewards[key].tolist(),
        "label_reward": results.label_rewards.tolist() * times,
        "tokens": [len(summary.response) for summary in given],
        "ended": [int(summary.ended) for summary in given],
    }
    if key in results.divergences:
        columns["kl"] = [found.kl for found in results.divergences[key]]
    return columns


def model_columns(results: Results, key: Key, gold: Gold | None = None) -> Columns:
    """Return every figure of a model's summaries."""
    table = csv_columns(results, key)
    rows = {name: table[name] for name in ("reward", "tokens", "ended")}
    if key in results.divergences:
        rows["kl_to_first"] = table["kl"]
        if key[1] == "sample":  # of greedy summaries it estimates nothing
            rows["kl_to_first_sampled"] = [found.log_ratio for found in results.divergences[key]]
    if gold is not None:
        rows["gold"] = gold(results.rows["prompt"][:], table["summary"])
    columns = text_columns(table["summary"], results.bodies) | rouge_columns(table["summary"], results.labels)
    return columns | {name: by_post(values, len(results.rows)) for name, values in rows.items()}


def label_columns(results: Results, first: Summariser, gold: Gold | None = None) -> Columns:
    """Return the figures of the human summaries; their tokens are those of the first model, EOS included."""
    ids = token_ids(first.tokenizer, [f" {label}" for label in results.labels])
    rows = {"tokens": [len(found) - len(prefix_ids(first.tokenizer)) + 1 for found in ids]}
    rows["reward"] = results.label_rewards.tolist()
    if gold is not None:
        rows["gold"] = gold(results.rows["prompt"][:], results.labels)
    columns = text_columns(results.labels, results.bodies)
    return columns | {name: by_post(values, len(results.rows)) for name, values in rows.items()}


def columns_by_way(
    results: Results, models: Sequence[Summariser], ways: Sequence[str], gold: Gold | None = None
) -> dict[str, dict[str, Columns]]:
    """Return the columns of each model and, last, of the label, by way of decoding."""
    label = label_columns(results, models[0], gold)
    return {
        way: {model.name: model_columns(results, (model.name, way), gold) for model in models} | {LABEL: label}
        for way in ways
    }


def way_record(columns: dict[str, Columns], models: Sequence[Summariser]) -> dict[str, Any]:
    """Return `models`, `label` and `comparisons` of evaluation.json for one way of decoding."""
    label = columns[LABEL]
    return {
        "models": {model.name: {"directory": model.path} | figures(columns[model.name], label) for model in models},
        "label": label_figures(label),
        "comparisons": comparisons(columns),
    }


def gain_record(columns: dict[str, Columns], names: Sequence[str]) -> dict[str, Any] | None:
    """Return `gain` of evaluation.json: why the second model has more reward than the first; None for one model."""
    if len(names) < 2:
        return None
    both = [
        {name: per_post(columns[model][name]) for name in ("reward", "tokens", "copied_4grams")}
        for model in names[1::-1]
    ]
    return {"first": names[1], "second": names[0], **gain(*both)}


def sample_rows(results: Results, columns: dict[str, Columns], models: Sequence[Summariser], way: str) -> list[dict]:
    """Return the rows of samples.jsonl: a post, its label, and the first summary of each model."""
    rows = []
    for i, prompt in enumerate(results.rows["prompt"][:]):
        texts = {LABEL: {"text": results.labels[i]}}
        for model in models:
            summary = results.summaries[model.name, way][i]
            texts[model.name] = {"text": summary.text, "tokens": len(summary.response), "ended": summary.ended}
        for name, text in texts.items():
            text |= {
                figure: float(columns[name][figure][i, 0]) for figure in ("reward", "gold") if figure in columns[name]
            }
        rows.append({"post": i, "prompt": prompt, **texts})
    return rows


def best_of_n(drawn: BestOf, model: str, rows: Dataset, gold: Gold | None) -> dict[str, Any]:
    """Return `best_of_n` of evaluation.json, of samples of a model on the posts of `rows`."""
    rewards = by_post(drawn.rewards.tolist(), drawn.posts)
    texts = [summary.text for summary in drawn.summaries]
    known = None if gold is None else by_post(gold(rows["prompt"][:], texts), drawn.posts)
    return {"model": model, "samples": rewards.shape[1], "posts": drawn.posts, "curve": curve(rewards, known)}
