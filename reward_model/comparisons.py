"""Pairs of summaries of one post, as token ids, for training and for testing the reward model."""

import inspect
from collections.abc import Sequence
from typing import NamedTuple

import datasets
from transformers import PreTrainedTokenizerFast

from reward_model import encoding
from reward_model.encoding import encode, first_difference
from summarize_rlhf import UserError
from summarize_rlhf.data import load_rows
from summarize_rlhf.run.cached_rows import map_once
from summarize_rlhf.text import rm_text
from summarize_rlhf.tokenizer import tokenizer_hash

COLUMNS = ("prompt", "chosen", "rejected")
MIN_WORDS = 5


class Dropped(NamedTuple):
    """The number of rows left out, by reason. A row counts once, under the first reason that applies."""

    equal: int
    short: int

    def __str__(self) -> str:
        return f"{self.equal} with equal summaries, {self.short} with a summary under {MIN_WORDS} words"


def reason_to_drop(row: dict[str, str]) -> str | None:
    """Say why a pair teaches nothing: a field of `Dropped`, or None for a pair that is used.

    Words are counted in the data set's own text, "TL;DR:" included, as in the published code.
    """
    if rm_text("", row["chosen"]) == rm_text("", row["rejected"]):
        return "equal"
    if min(len(row["chosen"].split()), len(row["rejected"].split())) < MIN_WORDS:
        return "short"
    return None


def usable_comparisons(rows: datasets.Dataset) -> tuple[datasets.Dataset, Dropped]:
    """Return the rows without those to drop, and how many these were. Raises `UserError` if none is left."""
    reasons = [reason_to_drop(row) for row in rows]
    dropped = Dropped(*(reasons.count(name) for name in Dropped._fields))
    kept = rows.select([index for index, reason in enumerate(reasons) if reason is None])
    if len(kept) == 0:
        raise UserError(f"no usable pair among {len(rows)} rows: {dropped}")
    return kept, dropped


def load_comparisons(
    name: str, split: str, max_rows: int | None = None, optional: Sequence[str] = ()
) -> tuple[datasets.Dataset, Dropped]:
    """Load the usable pairs among the first `max_rows` rows of a split, and count the rows left out.

    `optional` columns as in `load_rows`.
    """
    return usable_comparisons(load_rows(name, split, COLUMNS, max_rows, optional))


def encode_comparisons(
    rows: datasets.Dataset,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    show_progress: bool = True,
    fresh: bool = False,
) -> datasets.Dataset:
    """Tokenize pairs, both texts under the same post: `chosen_ids`, `rejected_ids`, `start`, `length`.

    `max_length` is in tokens per text. `start` is the first position at which the two differ; `length` counts the
    pair's tokens, the shared beginning once. `fresh`: see `map_once`.
    """

    def encode_batch(batch: dict[str, list[str]], places: list[str]) -> dict[str, list]:
        summaries = list(zip(batch["chosen"], batch["rejected"], strict=True))
        pairs = encode(tokenizer, batch["prompt"], summaries, max_length, places)
        start = [first_difference(*pair) for pair in pairs]
        return {
            "chosen_ids": [chosen for chosen, _ in pairs],
            "rejected_ids": [rejected for _, rejected in pairs],
            "start": start,
            "length": [sum(map(len, pair)) - shared for pair, shared in zip(pairs, start, strict=True)],
        }

    depends_on = [tokenizer_hash(tokenizer), max_length, inspect.getsource(encoding)]
    return map_once(rows, encode_batch, depends_on, f"tokenize {rows.split}" if show_progress else None, fresh)
