"""TL;DR rows as token ids with labels, and batches padded no wider than their longest row.

B rows, T tokens of the longest row in the batch.
"""

import functools

import torch
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset
from transformers import PreTrainedTokenizerFast

from sft.loss import IGNORED
from summarize_rlhf import UserError, named
from summarize_rlhf.run.cached_rows import map_once
from summarize_rlhf.text import cut_post, prompt_text, sft_text, split_labels, split_prompts
from summarize_rlhf.tokenizer import plain_encodings, prefix_ids, tokenizer_hash

LOSS_ON = ("text", "summary")


class TLDRDataset(TorchDataset):
    """Rows with ``prompt`` and ``label`` as {"input_ids", "labels"}: prompt, one space, label, EOS.

    A row has at most ``max_length`` tokens, EOS included; a longer one loses the end of its post. ``loss_on`` "text"
    (published) supervises every token, "summary" only the summary and its EOS. Raises ``UserError``, naming the row,
    for a prompt that does not end with ``TL;DR:`` and for a summary that leaves no room. ``fresh``: see ``map_once``.
    """

    def __init__(
        self,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int = 550,
        loss_on: str = "text",
        progress: str | None = None,
        fresh: bool = False,
    ):
        if loss_on not in LOSS_ON:
            raise UserError(f"loss_on is one of {', '.join(LOSS_ON)}, not {loss_on!r}")
        self.on_summary = loss_on == "summary"

        def encode_batch(batch: dict[str, list[str]], places: list[str]) -> dict[str, list]:
            return encode(tokenizer, batch["prompt"], batch["label"], max_length, places)

        self.rows = map_once(rows, encode_batch, [tokenizer_hash(tokenizer), max_length], progress, fresh)
        self.lengths: list[int] = self.rows["length"][:]  # tokens of each row, EOS included

    def share_cut(self) -> float:
        """Return the share of rows whose post lost its end."""
        return sum(self.rows["cut"][:]) / len(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        row = self.rows[index]
        return with_labels(row["input_ids"], row["start"], self.on_summary)


def with_labels(ids: list[int], start: int, on_summary: bool) -> dict[str, list[int]]:
    """Return a row of ids and labels, -100 where nothing is supervised; the summary begins at `start`."""
    start = start if on_summary else 1  # nothing predicts the first token
    return {"input_ids": ids, "labels": [IGNORED] * start + ids[start:]}


def encode(
    tokenizer: PreTrainedTokenizerFast, prompts: list[str], labels: list[str], max_length: int, places: list[str]
) -> dict[str, list]:
    """Tokenize rows: `input_ids` with the EOS at the end, their number `length`, `start`, where the summary begins, and
    `cut`, whether the post lost its end.

    Prompt and summary are tokenized as one string. The summary begins at the first token that reaches beyond the
    prompt, so that a token across the border is supervised. `places` name the row in errors.
    """
    bodies, labels = split_prompts(prompts, places), split_labels(labels, places)
    texts = [sft_text(body, label) for body, label in zip(bodies, labels, strict=True)]
    prefix = prefix_ids(tokenizer)
    encoded: dict[str, list] = {"input_ids": [], "length": [], "start": [], "cut": []}
    for i, tokens in enumerate(plain_encodings(tokenizer, texts, places)):
        body = bodies[i]
        if len(prefix) + len(tokens) >= max_length:
            with named(places[i]):
                body = cut_post(tokenizer, body, max_length - 1, functools.partial(sft_text, label=labels[i]))
            (tokens,) = plain_encodings(tokenizer, [sft_text(body, labels[i])])
        encoded["cut"].append(body != bodies[i])
        border = len(prompt_text(body))
        encoded["input_ids"].append([*prefix, *tokens.ids, tokenizer.eos_token_id])
        encoded["length"].append(len(prefix) + len(tokens) + 1)
        encoded["start"].append(len(prefix) + next(t for t, (_, end) in enumerate(tokens.offsets) if end > border))
    return encoded


class PadRight:
    """Collate rows into ids and labels (B, T), and `keep_from`, the first position whose state predicts a label.

    Two rows whose summaries alone are supervised (EOS 9, pad 0):

        {"input_ids": [4, 5, 6, 7, 9], "labels": [-100, -100, -100, 7, 9]}
        {"input_ids": [4, 5, 8, 9], "labels": [-100, -100, 8, 9]}

    become

        input_ids  [[4, 5, 6, 7, 9],      labels  [[-100, -100, -100, 7,    9],      keep_from  1
                    [4, 5, 8, 9, 0]]               [-100, -100,    8, 9, -100]]

    Padding is labelled by the rows' lengths: the pad id may be the EOS id, and a row's own EOS is supervised.
    """

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)

        def stack(name: str, filler: int) -> torch.Tensor:
            return torch.tensor([row[name] + [filler] * (width - len(row[name])) for row in rows])

        first = min(next(t for t, label in enumerate(row["labels"]) if label != IGNORED) for row in rows)
        return {
            "input_ids": stack("input_ids", self.pad_token_id),
            "labels": stack("labels", IGNORED),
            "keep_from": max(first - 1, 0),
        }
