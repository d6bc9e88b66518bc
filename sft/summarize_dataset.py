"""TL;DR rows as token ids with labels, and batches padded no wider than their longest row.

B rows, T tokens of the longest row in the batch.
"""

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from sft.loss import IGNORED
from summarize_rlhf.errors import UserError
from summarize_rlhf.text import cut_post, prompt_text, sft_text, split_prompt

LOSS_ON = ("text", "summary")


class TLDRDataset(TorchDataset):
    """Rows with ``prompt`` and ``label`` as {"input_ids", "labels"}: prompt, one space, label, EOS.

    At most ``max_length`` tokens with the EOS: of a longer row the end of the post is cut. ``loss_on`` "text"
    (published) supervises every token, "summary" only the summary and its EOS. Raises ``UserError``, naming the row,
    for a prompt that does not end with ``TL;DR:`` and for a summary that leaves no room.
    """

    def __init__(
        self,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int = 550,
        loss_on: str = "text",
        progress: str | None = None,
    ):
        if loss_on not in LOSS_ON:
            raise UserError(f"loss_on is one of {', '.join(LOSS_ON)}, not {loss_on!r}")
        self.ids: list[np.ndarray] = []
        self.starts: list[int] = []  # the first supervised token of each row
        bar = tqdm(rows, desc=progress, disable=progress is None, unit="row")
        for number, row in enumerate(bar, 1):
            try:
                ids, start = encode(tokenizer, row["prompt"], row["label"], max_length)
            except UserError as error:
                raise UserError(f"{rows.info.dataset_name} [{rows.split}], row {number}: {error}") from error
            self.ids.append(np.array(ids, dtype=np.int32))
            self.starts.append(start if loss_on == "summary" else 1)  # nothing predicts the first token

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row, EOS included."""
        return [len(ids) for ids in self.ids]

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        ids, start = self.ids[index].tolist(), self.starts[index]
        return {"input_ids": ids, "labels": [IGNORED] * start + ids[start:]}


def encode(tokenizer: PreTrainedTokenizerFast, prompt: str, label: str, max_length: int) -> tuple[list[int], int]:
    """The token ids of one row, EOS last, and the position at which the summary begins.

    Prompt and summary are tokenised as one string. The summary begins at the first token that reaches beyond the
    prompt, so that a token across the border would be supervised.
    """

    def render(body: str) -> str:
        return sft_text(prompt_text(body), label)

    body = cut_post(tokenizer, split_prompt(prompt), max_length - 1, render)
    tokens = tokenizer(render(body), return_offsets_mapping=True, verbose=False)
    border = len(prompt_text(body))
    start = next(i for i, (_, end) in enumerate(tokens.offset_mapping) if end > border)
    return [*tokens.input_ids, tokenizer.eos_token_id], start


class PadRight:
    """Collates rows into tensors (B, T): ids and labels.

    Labels come from the rows' lengths: the pad id may be the EOS id, and a row's own EOS is supervised.
    """

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)

        def stack(name: str, filler: int) -> torch.Tensor:
            return torch.tensor([row[name] + [filler] * (width - len(row[name])) for row in rows])

        return {
            "input_ids": stack("input_ids", self.pad_token_id),
            "labels": stack("labels", IGNORED),
        }
