"""From a post and its summaries to token ids, the same for training, evaluation and inference.

A text's ids end before its first END (the tokenizer's EOS): the score is read at the last of them, and
nothing behind could change it, for attention is causal. Lengths therefore say everything; padding is never
recognised by its id.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from summarize_rlhf.errors import UserError
from summarize_rlhf.text import END, cut_post, rm_text


def encode(
    tokenizer: PreTrainedTokenizerFast,
    bodies: Sequence[str],
    summaries: Sequence[Sequence[str]],
    max_length: int,
) -> list[list[list[int]]]:
    """Token ids `[row][summary]` of `rm_text`, for rows of one body and one or more summaries.

    Where a text has more than `max_length` tokens (END counted), the post is cut; all summaries of a row
    then follow the same cut post. Raises `UserError` for a post that contains END, or if not even an empty
    post fits.
    """
    texts = [rm_text(body, summary) for body, row in zip(bodies, summaries, strict=True) for summary in row]
    ids = iter(tokenizer(texts, verbose=False).input_ids if texts else [])
    encoded = []
    for number, (body, row) in enumerate(zip(bodies, summaries, strict=True)):
        if END in body:
            raise UserError(f"post {number} contains {END}, where the text would end before its summary: {body[:80]!r}")
        row_ids = [next(ids) for _ in row]
        if max(map(len, row_ids)) > max_length:
            for summary in row:
                body = cut_post(tokenizer, body, max_length, lambda cut, summary=summary: rm_text(cut, summary))
            row_ids = [tokenizer(rm_text(body, summary)).input_ids for summary in row]
        encoded.append([before_end(text, tokenizer.eos_token_id) for text in row_ids])
    return encoded


def before_end(ids: list[int], eos_token_id: int) -> list[int]:
    """The ids before the first EOS. The first id is no end: some tokenizers begin every text with EOS."""
    return ids[: ids.index(eos_token_id, 1)] if eos_token_id in ids[1:] else ids


def first_difference(chosen: Sequence[int], rejected: Sequence[int]) -> int:
    """Where the ids of two texts part: the first unequal one, or the end of the shorter text.

    For equal texts that is their common length.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))


def pad_right(texts: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Texts of different lengths as ids (B, T), padded on the right, and their lengths (B,)."""
    lengths = [len(text) for text in texts]
    width = max(lengths)
    rows = [[*text, *[pad_token_id] * (width - len(text))] for text in texts]
    return torch.tensor(rows), torch.tensor(lengths)
