"""The content of evaluation.json: what summaries are like, and whose are better, from columns of figures.

Columns are arrays (N, K): a figure of each of K summaries of N posts, by its name; the human summary (label) has K = 1.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from summarize_rlhf.evaluation.copying import copied_share
from summarize_rlhf.evaluation.estimates import Estimate, mean, per_post, rate
from summarize_rlhf.evaluation.repetition import repeated_share
from summarize_rlhf.evaluation.verdict import detectable, power_of, verdict
from summarize_rlhf.evaluation.win_rates import length_controlled, pairs, warning, win_rate, wins
from summarize_rlhf.rouge import ALL_KINDS, rouge_rows

LABEL = "label"
# In the order of the tables; `reward_over_label` and `eos_rate` are made of the columns `reward` and `ended`.
FIGURES = (
    *ALL_KINDS, "reward", "reward_over_label", "tokens", "eos_rate", "repetition", "copied_4grams", "kl_to_first",
    "kl_to_first_sampled", "gold",
)  # fmt: skip
OF_LABEL = ("reward", "tokens", "copied_4grams", "gold")

Columns = Mapping[str, np.ndarray]


def by_post(rows: Sequence[float], posts: int) -> np.ndarray:
    """Return figures that are in rows, sample by sample (K·N), as (N, K)."""
    return np.asarray(rows, dtype=np.float64).reshape(-1, posts).T


def rouge_columns(texts: Sequence[str], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Measure ROUGE of summaries, in rows (K·N), to the human summaries (N)."""
    n = len(labels)
    scores = rouge_rows(texts, [labels[row % n] for row in range(len(texts))], ALL_KINDS)
    return {kind: by_post([score[kind] for score in scores], n) for kind in ALL_KINDS}


def text_columns(texts: Sequence[str], bodies: Sequence[str]) -> dict[str, np.ndarray]:
    """Measure summaries, in rows (K·N), of posts (N) by their text alone: repetition, copying, length in characters."""
    n = len(bodies)
    rows = {
        "repetition": [repeated_share(text) for text in texts],
        "copied_4grams": [copied_share(text, bodies[row % n]) for row, text in enumerate(texts)],
        "characters": [len(text) for text in texts],
    }
    return {name: by_post(values, n) for name, values in rows.items()}


def figures(model: Columns, label: Columns) -> dict[str, Estimate | None]:
    """Estimate each of `FIGURES` of a model; None for what was not measured."""
    found: dict[str, Estimate | None] = {name: mean(model[name]) if name in model else None for name in FIGURES}
    found["reward_over_label"] = mean(per_post(model["reward"]) - per_post(label["reward"]))
    return found | {"eos_rate": rate(model["ended"])}


def label_figures(label: Columns) -> dict[str, Estimate | None]:
    """Estimate those of the figures that the human summaries have."""
    return {name: mean(label[name]) if name in label else None for name in OF_LABEL}


def compare(first: str, second: str, outcomes: Any, longer: Any, difference: Estimate | None) -> dict[str, Any]:
    """Compare two models by the `outcomes` of their pairs (N, P), in which the first is `longer` by so many characters.

    `difference` is that of their rewards, None where a judge chose.
    """
    raw, controlled = win_rate(outcomes), length_controlled(outcomes, longer)
    return {
        "first": first,
        "second": second,
        "win_rate": raw,
        "length_controlled": controlled,
        "difference": difference,
        "verdict": verdict(raw, outcomes),
        "detectable": detectable(outcomes),
        "power": power_of(outcomes),
        "warning": warning(raw, controlled, len(outcomes)),
    }


def opponents(models: Sequence[str]) -> list[tuple[str, str]]:
    """Return who is compared with whom: each model with those before it, and with the label."""
    return [(later, earlier) for earlier, later in combinations(models, 2)] + [(name, LABEL) for name in models]


def comparisons(columns: Mapping[str, Columns]) -> list[dict[str, Any]]:
    """Compare models by reward, each with those before it and with the label; `columns` has both, the label last."""
    found = []
    for first, second in opponents([name for name in columns if name != LABEL]):
        ours, theirs = columns[first], columns[second]
        difference = mean(per_post(ours["reward"]) - per_post(theirs["reward"]))
        outcomes = wins(ours["reward"], theirs["reward"])
        long, other = pairs(ours["characters"], theirs["characters"])
        found.append(compare(first, second, outcomes, long - other, difference))
    return found
