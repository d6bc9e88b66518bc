"""Prompts: tokenized once, kept with their metadata, drawn endlessly in a seeded order."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from summarize_rlhf.tokenizer import prefix_ids


class Prompt(NamedTuple):
    """One prompt: its ids (Q), the text of exactly these ids, and the other keys of its dictionary."""

    ids: list[int]
    text: str
    metadata: dict[str, Any]


class PromptPipeline:
    """Tokenized prompts, made of strings or of dictionaries with a "prompt" and any further keys.

    A string is read as trlX reads it: control tokens that it spells out (say, of a chat template) become these tokens,
    and nothing is put before it. With `add_special_tokens` it gets the prefix of the tokenizer's post-processor (the
    BOS of Llama or OPT), but never an EOS behind it. A dictionary may give its ids as `input_ids`: they are taken as
    they are, and "prompt" is their text.

    A longer prompt is cut to `max_prompt_length` tokens at the tokenizer's `truncation_side`, but keeps its BOS; `text`
    is then the text that remains. Raises ValueError for an empty prompt, a missing "prompt" key or uneven metadata.
    """

    def __init__(
        self,
        prompts: Sequence[str | dict[str, Any]],
        max_prompt_length: int,
        tokenizer: PreTrainedTokenizerBase,
        add_special_tokens: bool = False,
    ):
        rows = [{"prompt": row} if isinstance(row, str) else dict(row) for row in prompts]
        if not rows:
            raise ValueError("trlx.train was given no prompts.")
        keys = rows[0].keys()
        for i, row in enumerate(rows):
            if "prompt" not in row:
                raise ValueError(f"prompt {i} has no key 'prompt', only {sorted(row)}.")
            if row.keys() != keys:
                raise ValueError(f"prompt {i} has the keys {sorted(row)}, but prompt 0 has {sorted(keys)}.")
        texts = [row.pop("prompt") for row in rows]
        given = [row.pop("input_ids", None) for row in rows]
        encoded = tokenizer(texts, add_special_tokens=False).input_ids
        prefix = prefix_ids(tokenizer)
        self.items = []
        for i, (own, ids, text, metadata) in enumerate(zip(given, encoded, texts, rows, strict=True)):
            if own is not None:
                ids = list(own)
            elif add_special_tokens:
                ids = [*prefix, *ids]
            if not ids:
                raise ValueError(f"prompt {i} is empty: {text!r}.")
            if len(ids) > max_prompt_length:
                unspelt = len(prefix) if (own or add_special_tokens) and ids[: len(prefix)] == prefix else 0
                kept = max(unspelt, int(ids[0] == tokenizer.bos_token_id))
                ids = cut(ids, kept, max_prompt_length, tokenizer.truncation_side)
                text = tokenizer.decode(ids[unspelt:])
            self.items.append(Prompt(ids, text, metadata))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Prompt:
        return self.items[i]


def cut(ids: list[int], kept: int, length: int, side: str) -> list[int]:
    """Cut `ids` to `length`: keep the first `kept`, and of the others the last (`side` "left") or first ("right")."""
    rest = max(length - kept, 0)
    others = ids[kept:]
    return ids[:kept] + (others[max(len(others) - rest, 0) :] if side == "left" else others[:rest])


class PromptCursor:
    """Endless rounds over `n` prompts: round r is shuffled with `seed + r`.

    Its only state is `position`, the number of prompts drawn so far.
    """

    def __init__(self, n: int, seed: int):
        self.n = n
        self.seed = seed
        self.position = 0

    def take(self, count: int) -> list[int]:
        """Return the row numbers of the next `count` prompts."""
        rows: list[int] = []
        while len(rows) < count:
            round_, start = divmod(self.position, self.n)
            order = torch.randperm(self.n, generator=torch.Generator().manual_seed(self.seed + round_))
            taken = order[start : start + count - len(rows)].tolist()
            rows += taken
            self.position += len(taken)
        return rows

    def state_dict(self) -> dict[str, int]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, int]) -> None:
        vars(self).update(state)
