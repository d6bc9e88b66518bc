"""Rollouts, and the padded batches that they train in.

Shapes: B batch, Q prompt, R response, L prompt and response together, H hidden.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Rollout(NamedTuple):
    """One episode. `values[t]` precedes response token t; the last token is EOS or the `max_new_tokens`-th."""

    prompt: list[int]  # (Q)
    response: list[int]  # (R) the ids as they were sampled
    logprobs: Tensor  # (R) under the policy that sampled them
    values: Tensor  # (R)
    advantages: Tensor  # (R) whitened over the rollouts of all ranks
    returns: Tensor  # (R)
    trunk: Tensor | None  # (Q + R, H) output of the frozen trunk


PER_TOKEN = ("logprobs", "values", "advantages", "returns")  # (R) each


class Batch(NamedTuple):
    """Rollouts padded on the right. Masks come from lengths, never from comparing ids with a pad id."""

    tokens: Tensor  # (B, L)
    prompt_lengths: Tensor  # (B,)
    responses: Tensor  # (B, R)
    mask: Tensor  # (B, R) 1 on response tokens
    logprobs: Tensor | None = None  # (B, R)
    values: Tensor | None = None  # (B, R)
    advantages: Tensor | None = None  # (B, R)
    returns: Tensor | None = None  # (B, R)
    trunk: Tensor | None = None  # (B, L, H)
    keep_from: int = 0  # first position whose hidden state is read: it predicts the earliest response token

    def to(self, device) -> "Batch":
        """Return the batch with its tensors on `device`."""
        return Batch(*(x.to(device, non_blocking=True) if isinstance(x, Tensor) else x for x in self))


def pad(rows: list, dtype=None) -> Tensor:
    """Stack lists or tensors (n_i, …) into one tensor (B, max n, …), with zeros behind each."""
    rows = [torch.as_tensor(row, dtype=dtype) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def collate_tokens(prompts: list[list[int]], responses: list[list[int]]) -> Batch:
    """Pad prompts and responses as the model takes them: prompt from position 0, response right behind, then zeros.

    prompts    [7, 8, 9]          [7, 8]
    responses  [6, 5, 0]          [4, 0]               0 is EOS, and the padding

    tokens     [[7, 8, 9, 6, 5, 0],                    (B, L)
                [7, 8, 4, 0, 0, 0]]
    responses  [[6, 5, 0], [4, 0, 0]]                  (B, R)
    mask       [[1, 1, 1], [1, 1, 0]]                  (B, R)
    keep_from  1, whose state predicts the 4
    """
    lengths = torch.tensor([len(row) for row in responses])  # (B,)
    return Batch(
        tokens=pad([p + r for p, r in zip(prompts, responses, strict=True)], torch.long),
        prompt_lengths=torch.tensor([len(row) for row in prompts]),
        responses=pad(responses, torch.long),
        mask=(torch.arange(int(lengths.max()))[None] < lengths[:, None]).float(),
        keep_from=min(map(len, prompts)) - 1,
    )


def collate(rollouts: list[Rollout]) -> Batch:
    """Pad rollouts into a batch."""
    batch = collate_tokens([r.prompt for r in rollouts], [r.response for r in rollouts])
    return batch._replace(
        **{name: pad([getattr(r, name) for r in rollouts]) for name in PER_TOKEN},
        trunk=None if rollouts[0].trunk is None else pad([r.trunk for r in rollouts]),
    )


def to_tensors(rollouts: list[Rollout]) -> dict[str, Tensor]:
    """Concatenate rollouts into tensors for a safetensors file; `from_tensors` splits them again."""
    if not rollouts:
        return {}
    tensors = {
        "prompt_lengths": torch.tensor([len(r.prompt) for r in rollouts]),
        "response_lengths": torch.tensor([len(r.response) for r in rollouts]),
        "prompts": torch.tensor([token for r in rollouts for token in r.prompt]),
        "responses": torch.tensor([token for r in rollouts for token in r.response]),
    }
    for name in (*PER_TOKEN, "trunk"):
        if getattr(rollouts[0], name) is not None:
            tensors[name] = torch.cat([getattr(r, name).cpu() for r in rollouts]).contiguous()
    return tensors


def from_tensors(tensors: dict[str, Tensor], device) -> list[Rollout]:
    """Return the rollouts that `to_tensors` concatenated; their trunk goes to `device`."""
    if not tensors:
        return []
    q, r = tensors["prompt_lengths"].tolist(), tensors["response_lengths"].tolist()
    columns: dict[str, list] = {
        "prompt": [x.tolist() for x in tensors["prompts"].split(q)],
        "response": [x.tolist() for x in tensors["responses"].split(r)],
        **{name: [x.clone() for x in tensors[name].split(r)] for name in PER_TOKEN},
        "trunk": [None] * len(q),
    }
    if "trunk" in tensors:
        lengths = [a + b for a, b in zip(q, r, strict=True)]
        columns["trunk"] = [x.clone().to(device) for x in tensors["trunk"].split(lengths)]
    return [Rollout(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def minibatches(
    lengths: list[int], batch_size: int, micro_batches: int, steps: int, generator: torch.Generator
) -> Iterator[list[list[int]]]:
    """Yield the micro-batches, as lists of rows, of each optimizer step of one PPO epoch.

    The rollouts of these `lengths` are shuffled and make `steps` batches of at most `batch_size`, each split into
    `micro_batches`. Within a batch, rows of similar length share a micro-batch, which saves padding and does not change
    the gradient. Some are empty where this rank has fewer rollouts than another, or a batch fewer than `micro_batches`.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    for step in range(steps):
        rows = sorted(order[step * batch_size : (step + 1) * batch_size], key=lengths.__getitem__)
        borders = [len(rows) * i // micro_batches for i in range(micro_batches + 1)]
        yield [rows[start:stop] for start, stop in itertools.pairwise(borders)]
