"""The two losses of a reward model on pairs of summaries, as pure functions of tensors.

Shapes: B pairs, T tokens of the batch's longest text. `chosen` and `rejected` hold one value per token (B,
T); `chosen_lengths` and `rejected_lengths` (B,) count each text's real tokens, END left out; what stands
behind them is padding and never read. `start` (B,) is the first position at which the two texts differ
(`encoding.first_difference`). `values[t]` has seen token `t`; a text's score is the value at its last real token.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def end_scores(values: Tensor, lengths: Tensor) -> Tensor:
    """Return the score of each text (B,): its value (B, T) at the last real token."""
    return values.gather(1, lengths[:, None] - 1).squeeze(1)


def hold_last(values: Tensor, lengths: Tensor) -> Tensor:
    """Replace the values (B, T) on padding by each text's last real value."""
    positions = torch.arange(values.shape[1], device=values.device).expand_as(values)
    return values.gather(1, positions.minimum(lengths[:, None] - 1))


def pairwise_loss(
    chosen: Tensor, rejected: Tensor, chosen_lengths: Tensor, rejected_lengths: Tensor, start: Tensor
) -> Tensor:
    """Compute the published loss: -log sigmoid(chosen - rejected), averaged over the tokens from the first
    difference to the end of the longer text. One loss per pair (B,), whose mean is minimised.

    Source: `GPTRewardModel.forward` in CarperAI/trlx, examples/summarize_rlhf/reward_model/reward_model.py.
    There the shorter text's value is read inside its padding; here its last real value is held. A pair of
    equal texts has no such token and adds 0, but counts as a pair, so that any split into micro-batches
    gives the same mean.
    """
    difference = hold_last(chosen, chosen_lengths) - hold_last(rejected, rejected_lengths)  # (B, T)
    positions = torch.arange(difference.shape[1], device=difference.device)
    end = chosen_lengths.maximum(rejected_lengths)
    scored = (positions >= start[:, None]) & (positions < end[:, None])  # (B, T)
    per_token = -logsigmoid(difference.float()) * scored
    return per_token.sum(1) / scored.sum(1).clamp(min=1)


def last_token_loss(
    chosen: Tensor, rejected: Tensor, chosen_lengths: Tensor, rejected_lengths: Tensor, start: Tensor
) -> Tensor:
    """Compute the paper's loss: -log sigmoid(score of chosen - score of rejected). One loss per pair (B,).

    Source: Stiennon et al. 2020, section 3.4. A pair of equal texts adds 0, as above.
    """
    difference = end_scores(chosen, chosen_lengths) - end_scores(rejected, rejected_lengths)  # (B,)
    differs = start < chosen_lengths.maximum(rejected_lengths)
    return -logsigmoid(difference.float()) * differs


LOSSES = {"pairwise": pairwise_loss, "last_token": last_token_loss}
