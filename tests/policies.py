"""Batches and slow references for tests of the policy."""

import torch
from decoders import VOCABULARY
from transformers import (
    PreTrainedModel,
)

from trlx.models.policy import PolicyWithValueHead
from trlx.pipeline.rollouts import Batch, collate_tokens


def make_batch(lengths=((5, 5), (7, 2), (4, 6))) -> Batch:
    """Random prompts and responses of these lengths (Q, R)."""
    g = torch.Generator().manual_seed(1)
    rows = [torch.randint(1, VOCABULARY, (q + r,), generator=g).tolist() for q, r in lengths]
    return collate_tokens(
        [row[:q] for row, (q, _) in zip(rows, lengths, strict=True)],
        [row[q:] for row, (q, _) in zip(rows, lengths, strict=True)],
    )


def run(policy: PolicyWithValueHead, batch: Batch, **kwargs):
    return policy(batch.tokens, batch.prompt_lengths, batch.responses, keep_from=batch.keep_from, **kwargs)


def plain_logprobs(model: PreTrainedModel, batch: Batch, temperature: float = 1.0) -> torch.Tensor:
    """The slow way: each row alone through the whole model, no padding; zeros behind each response."""
    expected = torch.zeros(batch.responses.shape)
    for b in range(len(batch.tokens)):
        q, r = int(batch.prompt_lengths[b]), int(batch.mask[b].sum())
        logprobs = (model(batch.tokens[b : b + 1, : q + r]).logits[0] / temperature).log_softmax(-1)
        for t in range(r):
            expected[b, t] = logprobs[q + t - 1, batch.responses[b, t]]
    return expected


def train_steps(policy: PolicyWithValueHead, batch: Batch, steps: int = 2, lr: float = 0.5) -> None:
    """A few large steps on log-probabilities and values."""
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        out = run(policy, batch)
        ((out.logprobs - 0.1 * out.values) * batch.mask).sum().mul(0.05).backward()
        optimizer.step()
        optimizer.zero_grad()
