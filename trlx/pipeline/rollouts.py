"""Rollouts, and the batches that PPO makes of them.

Shapes: B batch, L prompt and response together, R response, H hidden.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Rollout(NamedTuple):
    """One episode. `values[t]` precedes token t of the response; the last token is EOS or the `max_new_tokens`-th."""

    prompt: list[int]  # (Q)
    response: list[int]  # (R) the very ids that were sampled
    logprobs: Tensor  # (R) under the policy that sampled
    values: Tensor  # (R)
    advantages: Tensor  # (R) whitened over the rollouts of all ranks
    returns: Tensor  # (R)
    trunk: Tensor | None  # (Q + R, H) output of the frozen trunk


NUMBERS = ("logprobs", "values", "advantages", "returns")  # (R) each


class Batch(NamedTuple):
    """Rollouts side by side, padded on the right. Masks come from lengths, never from comparing ids with a pad id."""

    tokens: Tensor  # (B, L)
    prompt_lengths: Tensor  # (B,)
    responses: Tensor  # (B, R)
    mask: Tensor  # (B, R) 1 on response tokens
    logprobs: Tensor | None = None  # (B, R)
    values: Tensor | None = None  # (B, R)
    advantages: Tensor | None = None  # (B, R)
    returns: Tensor | None = None  # (B, R)
    trunk: Tensor | None = None  # (B, L, H)
    keep_from: int = 0  # the first position whose state is read: before the first response token of the shortest prompt

    def to(self, device) -> "Batch":
        return Batch(*(x.to(device, non_blocking=True) if isinstance(x, Tensor) else x for x in self))


def pad(rows: list, dtype=None) -> Tensor:
    """Lists or tensors (n_i, …) -> one tensor (B, max n, …) with zeros behind each."""
    rows = [torch.as_tensor(row, dtype=dtype) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def collate_tokens(prompts: list[list[int]], responses: list[list[int]]) -> Batch:
    """Prompts and responses as the model takes them: prompt from position 0, response right behind, then zeros."""
    lengths = torch.tensor([len(row) for row in responses])
    return Batch(
        tokens=pad([p + r for p, r in zip(prompts, responses, strict=True)], torch.long),
        prompt_lengths=torch.tensor([len(row) for row in prompts]),
        responses=pad(responses, torch.long),
        mask=(torch.arange(int(lengths.max()))[None] < lengths[:, None]).float(),
        keep_from=min(map(len, prompts)) - 1,
    )


def collate(rollouts: list[Rollout]) -> Batch:
    """Rollouts -> Batch."""
    batch = collate_tokens([r.prompt for r in rollouts], [r.response for r in rollouts])
    return batch._replace(
        **{name: pad([getattr(r, name) for r in rollouts]) for name in NUMBERS},
        trunk=None if rollouts[0].trunk is None else pad([r.trunk for r in rollouts]),
    )


def to_tensors(rollouts: list[Rollout]) -> dict[str, Tensor]:
    """Rollouts one behind the other, as a safetensors file holds them; `from_tensors` takes them apart again."""
    if not rollouts:
        return {}
    tensors = {
        "prompt_lengths": torch.tensor([len(r.prompt) for r in rollouts]),
        "response_lengths": torch.tensor([len(r.response) for r in rollouts]),
        "prompts": torch.tensor([token for r in rollouts for token in r.prompt]),
        "responses": torch.tensor([token for r in rollouts for token in r.response]),
    }
    for name in (*NUMBERS, "trunk"):
        if getattr(rollouts[0], name) is not None:
            tensors[name] = torch.cat([getattr(r, name).cpu() for r in rollouts]).contiguous()
    return tensors


def from_tensors(tensors: dict[str, Tensor], device) -> list[Rollout]:
    """The rollouts that `to_tensors` took; their trunk goes to `device`."""
    if not tensors:
        return []
    q, r = tensors["prompt_lengths"].tolist(), tensors["response_lengths"].tolist()
    parts: dict[str, list] = {
        "prompt": [x.tolist() for x in tensors["prompts"].split(q)],
        "response": [x.tolist() for x in tensors["responses"].split(r)],
        **{name: [x.clone() for x in tensors[name].split(r)] for name in NUMBERS},
        "trunk": [None] * len(q),
    }
    if "trunk" in tensors:
        whole = [a + b for a, b in zip(q, r, strict=True)]
        parts["trunk"] = [x.clone().to(device) for x in tensors["trunk"].split(whole)]
    return [Rollout(**dict(zip(parts, row, strict=True))) for row in zip(*parts.values(), strict=True)]


def minibatches(
    lengths: list[int], batch_size: int, parts: int, steps: int, generator: torch.Generator
) -> Iterator[list[list[int]]]:
    """One PPO epoch over rollouts of these `lengths`: `steps` shuffled batches of `batch_size`, each as `parts` lists.

    A batch is an optimizer's step and drawn at random; within it, rows of like length share a micro-batch, which spares
    padding and changes no gradient. Where this rank has fewer rollouts than another, or a batch fewer than `parts`, a
    list is empty.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    for step in range(steps):
        rows = sorted(order[step * batch_size : (step + 1) * batch_size], key=lengths.__getitem__)
        borders = [len(rows) * i // parts for i in range(parts + 1)]
        yield [rows[start:stop] for start, stop in itertools.pairwise(borders)]
