"""The loss of supervised fine-tuning, with logits only where there is something to predict.

Shapes: B rows, T tokens, N supervised tokens among them, H hidden, V vocabulary. The states at t predict token t + 1.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.over_vocabulary import in_pieces

IGNORED = -100  # the label of a position that is not supervised, as torch's cross-entropy has it


class SupervisedLM(nn.Module):
    """A causal LM as `Trainer` trains it: token ids and labels in, the loss out.

    Rows are padded on the right, behind all labelled tokens: causal attention needs no mask to ignore padding. Logits
    (V numbers a token, most of the memory of a small batch) are computed for supervised tokens only, some at a time.
    """

    accepts_loss_kwargs = True  # Trainer hands over num_items_in_batch

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model
        self.config = model.config
        self.decoder = Decoder(model)
        self.decoder.prove()

    def forward(
        self, input_ids: Tensor, labels: Tensor, keep_from: int = 0, num_items_in_batch: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the loss of B rows, and each row's share of it.

        Returns `loss`, the sum of the token losses divided by `num_items_in_batch`, the number of supervised tokens in
        the global batch (default: in this batch); and `rows` (B, 2), each row's sum of token losses and their number.

        `input_ids` and `labels` (B, T); a label equals the token or is `IGNORED`. No label stands at or before
        `keep_from`, before which the last block computes nothing (`summarize_rlhf/lm/last_block.py`).
        """
        states = self.decoder.run_backbone(keep_from, input_ids=input_ids)  # (B, T, H)
        supervised = labels[:, 1:] != IGNORED  # (B, T-1)
        losses = self.token_losses(states[:, :-1][supervised], labels[:, 1:][supervised])  # (N)
        counts = supervised.sum(1)
        with torch.no_grad():
            table = torch.zeros(supervised.shape, device=losses.device).masked_scatter(supervised, losses)
        total = counts.sum() if num_items_in_batch is None else num_items_in_batch
        return {"loss": losses.sum() / total, "rows": torch.stack([table.sum(1), counts], 1)}

    def token_losses(self, states: Tensor, targets: Tensor) -> Tensor:
        """Compute the cross-entropy (N) in fp32 of `targets` (N), predicted from the hidden `states` (N, H)."""
        return in_pieces(self.model, self._token_losses, states, targets)

    def _token_losses(self, states: Tensor, targets: Tensor) -> Tensor:
        logits = self.decoder.run_head(states[None])[0]  # (N, V)
        return nn.functional.cross_entropy(logits.float(), targets, reduction="none")


def mean_loss(sums: Any, counts: Any) -> dict[str, float]:
    """Return the mean over all tokens and its exponential, from the rows' sums (B,) and counts (B,) of token losses."""
    loss = float(sums.sum() / counts.sum())
    return {"token_loss": loss, "perplexity": math.exp(min(loss, 50.0))}
