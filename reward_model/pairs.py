"""A batch of pairs and the values of both texts of each: packed into one row, or as two rows.

The texts of a pair share their post, most of their tokens. Packed, a pair is the row

    [ shared beginning | rest of chosen | rest of rejected ]

The rest of rejected does not see the rest of chosen, and its positions go on from the shared beginning. So
each token sees the tokens it would see in its own text, at their positions there: values, losses and gradients
are those of the two texts apart, and a pair costs little more than one text.

Shapes: B pairs, T tokens of the longest text (P of the longest packed row). `lengths` (B, 2) counts each
text's tokens, chosen first; `start` (B,) is where the two part. Values are read from the last token before the first
`start` on: `keep_from`, an int, is where a batch's first values are read.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reward_model.encoding import pad_right
from reward_model.reward_model import RewardModel

# Families whose trunk takes positions and a ready mask, and whose blocks all see the whole text.
PACKABLE = ("gptj", "gpt2", "gpt_neox", "llama", "opt", "gemma", "phi")


def can_pack(transformer: PreTrainedModel) -> bool:
    """Whether packed rows give this trunk's values: its family is known, and its attention takes a boolean mask."""
    return transformer.config.model_type in PACKABLE and transformer.config._attn_implementation == "sdpa"


class SeparatePairs:
    """Each text is a row: `input_ids` (B, 2, T), chosen first."""

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, pairs: list[dict]) -> dict[str, Tensor]:
        texts = [pair[side] for pair in pairs for side in ("chosen_ids", "rejected_ids")]
        return {"input_ids": pad_right(texts, self.pad_token_id)[0].unflatten(0, (-1, 2)), **borders(pairs)}

    def values(self, model: RewardModel, batch: dict[str, Tensor]) -> Tensor:
        """The value of each token from `keep_from` on (B, 2, T), chosen first."""
        return model(batch["input_ids"].flatten(0, 1), keep_from=batch["keep_from"]).unflatten(0, (-1, 2))


class PackedPairs:
    """Each pair is a row: `input_ids` (B, P)."""

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, pairs: list[dict]) -> dict[str, Tensor]:
        rows = [[*pair["chosen_ids"], *pair["rejected_ids"][pair["start"] :]] for pair in pairs]
        batch = {"input_ids": pad_right(rows, self.pad_token_id)[0], **borders(pairs)}
        if "trunk" in pairs[0]:  # of frozen_blocks.py
            batch["trunk"] = nn.utils.rnn.pad_sequence([pair["trunk"] for pair in pairs], batch_first=True)  # (B, P, H)
        return batch

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the model takes for a batch: ids, who sees whom, at which positions."""
        ids, lengths, start = (batch[name] for name in ("input_ids", "lengths", "start"))
        mask = packed_mask(lengths, start, ids.shape[1])[:, :, batch["keep_from"] :]
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": packed_positions(lengths, start, ids.shape[1]),
        }

    def values(self, model: RewardModel, batch: dict[str, Tensor]) -> Tensor:
        """The value of each token from `keep_from` on (B, 2, P), chosen first. As `SeparatePairs`, padded to P."""
        values = model(**self.inputs(batch), keep_from=batch["keep_from"], trunk=batch.get("trunk"))
        return unpack(values, batch["lengths"], batch["start"])


def borders(pairs: list[dict]) -> dict[str, Tensor | int]:
    """`lengths` (B, 2), `start` (B,) and `keep_from` of encoded pairs."""
    starts = [pair["start"] for pair in pairs]
    return {
        "lengths": torch.tensor([[len(pair["chosen_ids"]), len(pair["rejected_ids"])] for pair in pairs]),
        "start": torch.tensor(starts),
        "keep_from": max(min(starts) - 1, 0),
    }


def packed_mask(lengths: Tensor, start: Tensor, width: int) -> Tensor:
    """What each token of a packed row sees (B, 1, P, P): True where query (dim 2) may look at key (dim 3).

    Padding needs no rule: it stands last, where no token looks, and sees the row before it and itself. The model gets
    the rows from `keep_from` on alone: before it nothing but the causal order rules, which is cheaper without a mask.
    """
    place = torch.arange(width, device=lengths.device)
    in_rejected = place >= lengths[:, :1]  # (B, P)
    in_chosen = (place >= start[:, None]) & ~in_rejected
    causal = place[:, None] >= place
    return (causal & ~(in_rejected[:, :, None] & in_chosen[:, None, :]))[:, None]


def packed_positions(lengths: Tensor, start: Tensor, width: int) -> Tensor:
    """The position (B, P) of each token of a packed row in its own text; padding has 0, which always exists."""
    place = torch.arange(width, device=lengths.device)
    chosen_length, rejected_length = lengths[:, :1], lengths[:, 1:]
    shift = chosen_length - start[:, None]  # how much later a token of rejected stands in the row
    positions = torch.where(place < chosen_length, place, place - shift)
    return positions.where(place < rejected_length + shift, 0)


def unpack(values: Tensor, lengths: Tensor, start: Tensor) -> Tensor:
    """The values of a packed row (B, P) by text and position (B, 2, P); behind a text's end they mean nothing."""
    position = torch.arange(values.shape[1], device=values.device).expand_as(values)
    shift = lengths[:, :1] - start[:, None]
    of_rejected = torch.where(position < start[:, None], position, position + shift).clamp(max=values.shape[1] - 1)
    return torch.stack([values, values.gather(1, of_rejected)], 1)
