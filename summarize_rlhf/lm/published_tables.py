"""The tables of the published example: ROUGE, and reward with its difference to the human summary's, a row a model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from summarize_rlhf.evaluation.estimates import mean, per_post
from summarize_rlhf.evaluation.record import by_post
from summarize_rlhf.intervals import mean_and_se
from summarize_rlhf.lm.evaluation_files import summaries_file
from summarize_rlhf.lm.test_set import Results
from summarize_rlhf.lm.test_set_figures import csv_columns
from summarize_rlhf.report import as_csv, format_table
from summarize_rlhf.rouge import rouge

HEADS = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "average": "rougeAvg"}
TITLES = {"sft": "SFT", "ppo": "PPO"}  # as published; other models go by their name
Columns = Mapping[str, Sequence[Any]]


def rouge_row(title: str, columns: Columns) -> dict[str, Any]:
    """Return the mean ROUGE of the column `summary` against `label`."""
    found = rouge(columns["summary"], columns["label"])
    return {"model": title} | {head: found[key] for head, key in HEADS.items()}


def reward_row(title: str, columns: Columns) -> dict[str, Any]:
    """Return mean reward, Δ (less the label's), length in tokens and the share that ended by EOS."""
    scores, label_scores = torch.tensor(columns["reward"]), torch.tensor(columns["label_reward"])
    count = len(scores)
    return {
        "model": title,
        "reward": scores.mean().item(),
        "Δ": (scores - label_scores).mean().item(),
        "tokens": sum(columns["tokens"]) / count,
        "ended by EOS": sum(columns["ended"]) / count,
    }


def title(name: str) -> str:
    return TITLES.get(name, name)


def published_tables(results: Results, names: Sequence[str], split: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Print both tables, the gain of the second model over the first, and KL; return the files and what they show."""
    ways = list(dict.fromkeys(way for _, way in results.summaries))
    files, rouge_table, reward_table = {}, [], []
    for key in results.summaries:
        name, way = key
        columns = csv_columns(results, key)
        shown = f"{title(name)} ({way})" if len(ways) > 1 else title(name)
        rouge_table.append(rouge_row(shown, columns))
        reward_table.append(reward_row(shown, columns))
        files[summaries_file(name, way)] = as_csv(
            [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        )
    print(f"\nROUGE on {len(results.rows)} rows of {split}\n{format_table(rouge_table)}")
    print(f"\nReward (Δ: less that of the label)\n{format_table(reward_table)}")
    gains, divergences = {}, {}
    first, second = (*names, None)[:2]
    for way in ways if second else []:
        ours, theirs = (per_post(by_post(results.rewards[n, way].tolist(), len(results.rows))) for n in (second, first))
        found = mean(ours - theirs)
        gains[way] = {"mean": found["value"], "low": found["low"], "high": found["high"]}
        interval = "" if len(ours) == 1 else f", 95 % interval {found['low']:+.3f} to {found['high']:+.3f}"
        print(f"{title(second)} − {title(first)}, {way}: {found['value']:+.3f}{interval}")
    for (name, way), values in results.divergences.items():
        middle, se = mean_and_se([value.kl for value in values])
        error = "" if math.isnan(se) else f" ± {se:.2f}"
        print(f"KL of {title(name)} to {title(first)}, {way}: {middle:.2f}{error} nats a summary")
        if name == second:
            divergences[way] = {"mean": middle, "se": None if math.isnan(se) else se}
    files |= {"rouge.csv": as_csv(rouge_table), "reward.csv": as_csv(reward_table)}
    return files, {"rouge": rouge_table, "reward": reward_table, "reward_gain": gains, "kl": divergences}
