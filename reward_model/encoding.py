"""From a post and its summaries to token ids, the same for training, evaluation and inference.

A text's ids end before the EOS that closes it: the score is read at the last of them, and nothing behind could
change it, for attention is causal. Lengths therefore say everything; padding is never recognised by its id, nor is
the end: no text holds the EOS (see `summarize_rlhf/tokenizer.py`).
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from summarize_rlhf import named
from summarize_rlhf.text import cut_post, rm_text
from summarize_rlhf.tokenizer import token_ids


def encode(
    tokenizer: PreTrainedTokenizerFast,
    bodies: Sequence[str],
    summaries: Sequence[Sequence[str]],
    max_length: int,
    places: Sequence[str] | None = None,
    written_by_model: bool = False,
) -> list[list[list[int]]]:
    """Return the token ids `[row][summary]` of `rm_text`, for rows of one body and one or more summaries.

    Where a text has more than `max_length` tokens (its EOS counted), the post is cut; all summaries of a row then
    follow the same cut post. Raises `UserError` if not even an empty post fits. `places` name rows in errors; those of
    a data set are refused for a control token that the tokenizer cannot spell, unless they may be `written_by_model`
    (see `token_ids`).
    """
    texts = [rm_text(body, summary) for body, row in zip(bodies, summaries, strict=True) for summary in row]
    where = (
        None
        if places is None or written_by_model
        else [place for place, row in zip(places, summaries, strict=True) for _ in row]
    )
    ids = iter(token_ids(tokenizer, texts, where))
    encoded = []
    for number, (body, row) in enumerate(zip(bodies, summaries, strict=True)):
        row_ids = [next(ids) for _ in row]
        if max(map(len, row_ids)) >= max_length:
            with named(f"text {number}" if places is None else places[number]):
                for summary in row:
                    body = cut_post(tokenizer, body, max_length - 1, functools.partial(rm_text, summary=summary))
            row_ids = token_ids(tokenizer, [rm_text(body, summary) for summary in row])
        encoded.append(row_ids)
    return encoded


def first_difference(chosen: Sequence[int], rejected: Sequence[int]) -> int:
    """Return the first position at which the ids of two texts differ, or the end of the shorter text.

    For equal texts that is their common length.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))


def pad_right(texts: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Pad texts on the right to ids (B, T); returns them and the texts' lengths (B,)."""
    lengths = [len(text) for text in texts]
    width = max(lengths)
    rows = [[*text, *[pad_token_id] * (width - len(text))] for text in texts]
    return torch.tensor(rows), torch.tensor(lengths)
