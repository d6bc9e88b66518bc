"""Prompts: tokenized once, kept with their metadata, drawn without end in a seeded order."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from summarize_rlhf.tokenizer import prefix_ids


class Prompt(NamedTuple):
    """One prompt: its ids (Q), the text of just these ids, and what else its dictionary held."""

    ids: list[int]
    text: str
    metadata: dict[str, Any]


class PromptPipeline:
    """`prompts` (strings, or dictionaries with a "prompt" and any further keys) as tokens.

    A string is read as trlX reads it: control tokens that it spells (of a chat template, say) are these tokens, and
    nothing is put before it. `add_special_tokens` puts there what the tokenizer's post-processor does (the BOS of
    Llama or OPT), never behind it an EOS, after which there is nothing to say. A dictionary may hold its ids
    as `input_ids`: they are taken as they are, and "prompt" is their text.

    Longer ones are cut to `max_prompt_length` tokens at the tokenizer's `truncation_side`, their BOS excepted, and
    `text` is then what is left. Raises ValueError for an empty prompt, a missing "prompt" key or uneven metadata.
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
    """At most `length` ids: the first `kept`, and of the others the last (`side` "left") or the first ("right")."""
    rest = max(length - kept, 0)
    others = ids[kept:]
    return ids[:kept] + (others[max(len(others) - rest, 0) :] if side == "left" else others[:rest])


class PromptCursor:
    """Endless rounds over `n` prompts, each in its own order: round r is shuffled with `seed + r`.

    `position` counts prompts drawn so far and is all there is to save.
    """

    def __init__(self, n: int, seed: int):
        self.n = n
        self.seed = seed
        self.position = 0

    def take(self, count: int) -> list[int]:
        """Row numbers of the next `count` prompts."""
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
