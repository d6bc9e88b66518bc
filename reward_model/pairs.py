"""A batch of pairs and the values of both texts of each pair: packed into one row, or as two rows.

The texts of a pair share their post, most of their tokens. Packed, a pair is the row

    [ shared beginning | rest of chosen | rest of rejected ]

The rest of rejected does not see the rest of chosen, and its positions continue from the shared beginning. So each
token sees the tokens that it would see in its own text, at their positions there: values, losses and gradients are
those of two separate texts, and a pair costs little more than one text.

Shapes: B pairs, T tokens of the longest text, P tokens of the longest packed row. `lengths` (B, 2) counts each text's
tokens, chosen first; `start` (B,) is the first position at which the two differ. `keep_from` (an int) is the first
position whose value is read: the last one before the smallest `start`.
"""

import torch
from torch import Tensor, nn

from reward_model.encoding import pad_right
from reward_model.reward_model import RewardModel
from summarize_rlhf.lm.discovery import random_ids
from summarize_rlhf.lm.families import attends_to_all
from summarize_rlhf.lm.last_block import has_keep_from


class SeparatePairs:
    """Collate pairs such that each text is a row: `input_ids` (B, 2, T), chosen first.

    One pair (pad 0):

        {"chosen_ids": [5, 6, 7], "rejected_ids": [5, 6, 8, 9], "start": 2}

    becomes

        input_ids  [[[5, 6, 7, 0],      lengths  [[3, 4]]      start  [2]      keep_from  1
                     [5, 6, 8, 9]]]
    """

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, pairs: list[dict]) -> dict[str, Tensor]:
        texts = [pair[side] for pair in pairs for side in ("chosen_ids", "rejected_ids")]
        return {"input_ids": pad_right(texts, self.pad_token_id)[0].unflatten(0, (-1, 2)), **borders(pairs)}

    def values(self, model: RewardModel, batch: dict[str, Tensor]) -> Tensor:
        """Compute the value of each token (B, 2, T), chosen first; before `keep_from` they mean nothing."""
        return model(batch["input_ids"].flatten(0, 1), keep_from=batch["keep_from"]).unflatten(0, (-1, 2))


class PackedPairs:
    """Collate pairs such that each pair is a row: `input_ids` (B, P).

    One pair:

        {"chosen_ids": [5, 6, 7], "rejected_ids": [5, 6, 8, 9], "start": 2}

    becomes

        input_ids     [[5, 6, 7, 8, 9]]      lengths  [[3, 4]]      start  [2]      keep_from  1

    and `inputs` adds, for the queries from `keep_from` on,

        attention_mask  [1, 1, 0, 0, 0]   # 6
                        [1, 1, 1, 0, 0]   # 7, chosen
                        [1, 1, 0, 1, 0]   # 8, rejected: does not see 7
                        [1, 1, 0, 1, 1]   # 9
        position_ids    [0, 1, 2, 2, 3]
    """

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, pairs: list[dict]) -> dict[str, Tensor]:
        rows = [[*pair["chosen_ids"], *pair["rejected_ids"][pair["start"] :]] for pair in pairs]
        batch = {"input_ids": pad_right(rows, self.pad_token_id)[0], **borders(pairs)}
        if "trunk" in pairs[0]:  # of frozen_blocks.py
            batch["trunk"] = nn.utils.rnn.pad_sequence([pair["trunk"] for pair in pairs], batch_first=True)  # (B, P, H)
        return batch

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Build the model's inputs for a batch: ids (B, P), mask (B, 1, P - keep_from, P) and positions (B, P)."""
        ids, lengths, start = (batch[name] for name in ("input_ids", "lengths", "start"))
        mask = packed_mask(lengths, start, ids.shape[1])[:, :, batch["keep_from"] :]
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": packed_positions(lengths, start, ids.shape[1]),
        }

    def values(self, model: RewardModel, batch: dict[str, Tensor]) -> Tensor:
        """Compute the values that `SeparatePairs` gives, padded to P: (B, 2, P), chosen first."""
        values = model(**self.inputs(batch), keep_from=batch["keep_from"], trunk=batch.get("trunk"))
        return unpack(values, batch["lengths"], batch["start"])


@torch.no_grad()
def can_pack(model: RewardModel, max_length: int) -> bool:
    """Whether packed rows give this model's values, for texts of at most `max_length` tokens.

    Every layer must attend to the whole text, and take positions and a ready mask: two random pairs are tried.
    """
    transformer = model.transformer
    if not has_keep_from(transformer) or not attends_to_all(model.config, max_length):
        return False
    ids = random_ids(transformer).tolist()
    cut = (  # where the texts of a pair differ, and their lengths
        {"chosen_ids": row[:9], "rejected_ids": [*row[:start], *other[start:length]], "start": start}
        for row, other, start, length in zip(ids, ids[::-1], (4, 2), (7, 11), strict=True)
    )
    pairs, training = list(cut), model.training
    model.eval()
    try:
        found = []
        for way in (PackedPairs(0), SeparatePairs(0)):
            batch = {name: x.to(transformer.device) if isinstance(x, Tensor) else x for name, x in way(pairs).items()}
            found.append(way.values(model, batch))
    except Exception:  # whatever a family's code does with a mask and positions that are not its own
        return False
    finally:
        model.train(training)
    packed, separate = found  # (2, 2, P), (2, 2, T)
    for side in range(2):
        for b, length in enumerate(batch["lengths"][:, side].tolist()):
            read = slice(batch["keep_from"], length)
            gap = (packed[b, side, read] - separate[b, side, read]).abs().max()
            if not gap <= torch.finfo(transformer.dtype).eps ** 0.5 * separate.abs().max():
                return False
    return True


def borders(pairs: list[dict]) -> dict[str, Tensor | int]:
    """Return `lengths` (B, 2), `start` (B,) and `keep_from` of encoded pairs."""
    starts = [pair["start"] for pair in pairs]
    return {
        "lengths": torch.tensor([[len(pair["chosen_ids"]), len(pair["rejected_ids"])] for pair in pairs]),
        "start": torch.tensor(starts),
        "keep_from": max(min(starts) - 1, 0),
    }


def packed_mask(lengths: Tensor, start: Tensor, width: int) -> Tensor:
    """Build the attention mask of packed rows (B, 1, P, P): True where query (dim 2) may attend to key (dim 3).

    Padding needs no rule: it comes last, where no token attends, and attends to the row before it and to itself. The
    model gets only the queries from `keep_from` on: before them only causality counts, which is cheaper without a mask.
    """
    place = torch.arange(width, device=lengths.device)
    in_rejected = place >= lengths[:, :1]  # (B, P)
    in_chosen = (place >= start[:, None]) & ~in_rejected
    causal = place[:, None] >= place
    return (causal & ~(in_rejected[:, :, None] & in_chosen[:, None, :]))[:, None]


def packed_positions(lengths: Tensor, start: Tensor, width: int) -> Tensor:
    """Return the position (B, P) of each token of a packed row in its own text; padding has 0, which always exists."""
    place = torch.arange(width, device=lengths.device)
    chosen_length, rejected_length = lengths[:, :1], lengths[:, 1:]
    shift = chosen_length - start[:, None]  # how much later in the row a token of rejected comes
    positions = torch.where(place < chosen_length, place, place - shift)
    return positions.where(place < rejected_length + shift, 0)


def unpack(values: Tensor, lengths: Tensor, start: Tensor) -> Tensor:
    """Sort the values of packed rows (B, P) by text and position (B, 2, P); behind a text's end they mean nothing."""
    position = torch.arange(values.shape[1], device=values.device).expand_as(values)
    shift = lengths[:, :1] - start[:, None]
    of_rejected = torch.where(position < start[:, None], position, position + shift).clamp(max=values.shape[1] - 1)
    return torch.stack([values, values.gather(1, of_rejected)], 1)
