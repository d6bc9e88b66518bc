"""TL;DR rows as token ids with labels, and batches padded no wider than their longest row.

B rows, T tokens of the longest row in the batch.
"""

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from summarize_rlhf.errors import UserError
from summarize_rlhf.text import cut_post, prompt_text, sft_text, split_prompt

IGNORED = -100  # the label of a position that is not supervised, as torch's cross-entropy has it
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
            self.starts.append(start if loss_on == "summary" else 0)

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
    """Collates rows into tensors (B, T): ids, attention mask and labels.

    The mask comes from the rows' lengths: the pad id may be the EOS id, and a row's EOS is attended and supervised.
    """

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])  # (B,)
        width = int(lengths.max())

        def stack(name: str, filler: int) -> torch.Tensor:
            return torch.tensor([row[name] + [filler] * (width - len(row[name])) for row in rows])

        return {
            "input_ids": stack("input_ids", self.pad_token_id),
            "attention_mask": (torch.arange(width) < lengths[:, None]).long(),
            "labels": stack("labels", IGNORED),
        }


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (B, T-1) in fp32 of predicting ``labels[:, 1:]``; zero where a label is ignored.

    ``logits`` (B, T, V), ``labels`` (B, T): the logits at t predict the token at t + 1.
    """
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none"
    )
    return losses.view(labels.shape[0], -1)
