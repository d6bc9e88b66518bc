"""The card of a reward model: what it agrees with people on, whether it reads the post, and what it can be cheated by.

Measured from pairs of summaries whose first one people preferred, and from the probes of
`summarize_rlhf/evaluation/probes.py`.
`card_pages.py` puts it into words.
"""

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from reward_model.accuracy import prefers_chosen
from reward_model.encoding import encode
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from summarize_rlhf import UserError, intervals
from summarize_rlhf.data import fingerprint
from summarize_rlhf.evaluation.calibration import calibration
from summarize_rlhf.evaluation.copying import copied_share, source_position, words_of
from summarize_rlhf.evaluation.preferences import accuracy_by, rule_accuracy, within_pair_correlation
from summarize_rlhf.evaluation.probes import DESCRIPTIONS, make_probes
from summarize_rlhf.lm.speed import CACHE_TOKENS
from summarize_rlhf.text import bare_body, bare_summary

TOKENS_ON_GPU = 2**14  # of a forward pass
PROBED = 60  # posts, the first of the pairs': a share of them is known to ± .13
UNDER_ANOTHER = 100  # pairs scored under another post, the first
Rows = Sequence[dict[str, str]]


def stage_card(
    model: RewardModel,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    rows: datasets.Dataset,
    most: int,
) -> dict[str, Any] | None:
    """Measure the card of a model that has just been trained, on the first `most` pairs of its test split.

    None for no pairs, and where it fails, which a line says: a model is worth keeping without its card.
    """
    if most == 0:
        return None
    rows = rows.select(range(min(most, len(rows))))
    pairs = [(row["chosen"], row["rejected"]) for row in rows]
    at_once = CACHE_TOKENS if model.v_head.weight.device.type == "cpu" else TOKENS_ON_GPU
    try:
        scorer = Scorer(model, tokenizer, max_length, at_once)
        ids = encode(tokenizer, rows["prompt"][:], pairs, max_length)
        scores = scorer.score_ids([texts[side] for side in (0, 1) for texts in ids], "card: pairs")
        chosen, rejected = scores.split(len(rows))
        card = measure(scorer, list(rows), chosen, rejected, [str(rows.split)] * len(rows), progress="card")
    except UserError as error:
        print(f"warning: the reward model's card is left out: {error}")
        return None
    return card | {"data": fingerprint(rows)}


def measure(
    scorer: Scorer,
    rows: Rows,
    chosen: Tensor,
    rejected: Tensor,
    splits: Sequence[str],
    ceiling: float | None = None,
    within_post_spread: float | None = None,
    progress: str | None = None,
) -> dict[str, Any]:
    """Measure the card of N pairs (`prompt`, `chosen`, `rejected`) with scores (N,); `splits` (N,) name their parts.

    Scores the first pairs under other posts, and the probes of the first posts. `ceiling` is the highest accuracy that
    the labels allow, `within_post_spread` what was measured of a policy's samples; None where unknown. JSON without
    NaN; None stands for what could not be measured.
    """
    margins = (chosen - rejected).tolist()
    right = prefers_chosen(chosen, rejected).tolist()
    bodies = [bare_body(row["prompt"]) for row in rows]
    summaries = [[bare_summary(row[side]) for row in rows] for side in ("chosen", "rejected")]
    features = {
        "length": [[float(len(words_of(text))) for text in side] for side in summaries],
        "position": [[source_position(*pair) for pair in zip(side, bodies, strict=True)] for side in summaries],
        "copying": [[copied_share(*pair) for pair in zip(side, bodies, strict=True)] for side in summaries],
    }
    return {
        "pairs": len(rows),
        "posts": len(set(bodies)),
        "accuracy": estimate(right, bodies),
        "by_split": {name: of_split(right, bodies, splits, name) for name in dict.fromkeys(splits)},
        "by_margin": accuracy_by([abs(margin) for margin in margins], right),
        "by_length_difference": accuracy_by(np.subtract(*features["length"]), right),
        "rules": {
            "longer": rule_accuracy(*features["length"]),
            "more_copied": rule_accuracy(*features["copying"]),
        },
        "ceiling": ceiling,
        "calibration": calibration(margins),
        "correlations": {name: correlation(margins, *values) for name, values in features.items()},
        "within_post_spread": within_post_spread,
        "between_post_spread": between_post_spread(chosen, bodies),
        "other_post": under_another_post(scorer, bodies, list(zip(*summaries, strict=True)), right, progress),
        "probes": probe(scorer, bodies, summaries[0], progress),
    }


def estimate(right: Sequence[bool], posts: Sequence[str]) -> dict[str, float]:
    """Return the share of `right` with its 95 % interval, for posts drawn: `value`, `low`, `high`."""
    found = intervals.accuracy(right, posts)
    return {"value": found["accuracy"], "low": found["accuracy_low"], "high": found["accuracy_high"]}


def of_split(right: Sequence[bool], posts: Sequence[str], splits: Sequence[str], name: str) -> dict[str, float]:
    inside = [i for i, split in enumerate(splits) if split == name]
    return estimate([right[i] for i in inside], [posts[i] for i in inside])


def correlation(
    margins: Sequence[float], chosen: Sequence[float | None], rejected: Sequence[float | None]
) -> float | None:
    """Return the correlation of score and feature within pairs, of those pairs in which both have the feature."""
    known = [
        (margin, a - b)
        for margin, a, b in zip(margins, chosen, rejected, strict=True)
        if a is not None and b is not None
    ]
    return within_pair_correlation([margin for margin, _ in known], [difference for _, difference in known])


def between_post_spread(chosen: Tensor, posts: Sequence[str]) -> float | None:
    """Return the standard deviation over posts of the score of the human summary (of each post's first pair)."""
    scores = first_of_each(posts, chosen.tolist())
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None


def first_of_each(posts: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """Return the value at the first place of each post, in the posts' order."""
    first: dict[str, Any] = {}
    for post, value in zip(posts, values, strict=True):
        first.setdefault(post, value)
    return list(first.values())


def encode_those_that_fit(
    scorer: Scorer, bodies: Sequence[str], summaries: Sequence[tuple[str, str]]
) -> list[list[list[int]] | None]:
    """Return token ids as `encode` does; None for a row whose summaries are too long even for an empty post."""
    try:
        return list(encode(scorer.tokenizer, bodies, summaries, scorer.max_length))
    except UserError:
        found: list[list[list[int]] | None] = []
        for body, pair in zip(bodies, summaries, strict=True):
            try:
                found += encode(scorer.tokenizer, [body], [pair], scorer.max_length)
            except UserError:
                found.append(None)
        return found


def differences(
    scorer: Scorer, bodies: Sequence[str], summaries: Sequence[tuple[str, str]], progress: str | None
) -> list[float | None]:
    """Return first less second score of each row's two summaries; None for what does not fit. Each text is run once."""
    ids = encode_those_that_fit(scorer, bodies, summaries)
    unique = list(dict.fromkeys(tuple(text) for row in ids if row is not None for text in row))
    scores = dict(zip(unique, scorer.score_ids(unique, progress).tolist(), strict=True))
    return [None if row is None else scores[tuple(row[0])] - scores[tuple(row[1])] for row in ids]


def under_another_post(
    scorer: Scorer,
    bodies: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    right: Sequence[bool],
    progress: str | None = None,
) -> dict[str, Any]:
    """Compare the first pairs under their own post (`own_post`, accuracy) and under another (`accuracy`, `pairs`).

    A reward model that reads its post falls to chance: it cannot know which of two summaries of something else is
    better. None where all pairs are about one post.
    """
    others = next_others(bodies, min(UNDER_ANOTHER, len(bodies)))
    asked = [i for i, other in enumerate(others) if other is not None]
    margins = differences(scorer, [others[i] for i in asked], [pairs[i] for i in asked], progress)
    fit = [(i, margin) for i, margin in zip(asked, margins, strict=True) if margin is not None]
    if not fit:
        return {"accuracy": None, "own_post": None, "pairs": 0}
    accuracy, own = sum(margin > 0 for _, margin in fit) / len(fit), sum(right[i] for i, _ in fit) / len(fit)
    return {"accuracy": accuracy, "own_post": own, "pairs": len(fit)}


def next_others(bodies: Sequence[str], count: int) -> list[str | None]:
    """Return for each of the first posts the next one that is another, around the end; None where all are one."""
    around = [*bodies, *bodies]
    return [
        next((other for other in around[i + 1 : i + len(bodies)] if other != bodies[i]), None) for i in range(count)
    ]


def probe(
    scorer: Scorer, bodies: Sequence[str], labels: Sequence[str], progress: str | None = None
) -> dict[str, dict[str, Any]]:
    """Compare the probes of the first posts with the human summary.

    Returns of each its `description`, the number of `posts` in which it has something to change, and over these
    `beats_label`, the share in which it scores higher, and `mean_difference`, its score less that of the human summary.
    A probe without any post is left out.
    """
    labels = first_of_each(bodies, labels)[:PROBED]
    bodies = list(dict.fromkeys(bodies))[:PROBED]
    rows = [
        (name, body, (text, label))
        for name, texts in make_probes(bodies, labels).items()
        for body, text, label in zip(bodies, texts, labels, strict=True)
        if text is not None
    ]
    found = differences(scorer, [body for _, body, _ in rows], [pair for _, _, pair in rows], progress)
    result = {}
    for name, description in DESCRIPTIONS.items():
        mine = [x for (which, _, _), x in zip(rows, found, strict=True) if which == name and x is not None]
        if mine:
            beats, mean = sum(x > 0 for x in mine) / len(mine), sum(mine) / len(mine)
            result[name] = {
                "description": description,
                "posts": len(mine),
                "beats_label": beats,
                "mean_difference": mean,
            }
    return result
