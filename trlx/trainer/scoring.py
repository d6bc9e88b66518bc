"""Calling the user's reward and metric functions, and checking what they return."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor


class Episode(NamedTuple):
    """A prompt and what the policy made of it."""

    prompt: list[int]  # (Q)
    response: list[int]  # (R)
    prompt_text: str
    text: str  # of the response, without special tokens and without a stop sequence
    metadata: dict[str, Any]


def arguments(episodes: list[Episode], tokenizer) -> dict[str, Any]:
    """Keyword arguments of `reward_fn` and `metric_fn`: texts, and each metadata key as a list."""
    metadata = {key: [e.metadata[key] for e in episodes] for key in episodes[0].metadata}
    return {
        "samples": [e.prompt_text + e.text for e in episodes],
        "prompts": [e.prompt_text for e in episodes],
        "outputs": [e.text for e in episodes],
        "tokenizer": tokenizer,
        **metadata,
    }


def score(
    accelerator: Accelerator, reward_fn: Callable, episodes: list[Episode], tokenizer, everywhere: bool
) -> list[Tensor]:
    """A score () or one value per response token (R) for each of this rank's episodes.

    `reward_fn` sees the episodes of all ranks once, in order, on rank 0; with `everywhere` each rank scores
    its own. Raises ValueError, on every rank, for a wrong count, type or length, and for NaN or inf.
    """
    if everywhere or accelerator.num_processes == 1:
        return checked(reward_fn(**arguments(episodes, tokenizer)), episodes)
    shares = gather_object([episodes])
    answer: list[Any] = [None, None]
    if accelerator.is_main_process:
        everyone = [episode for share in shares for episode in share]
        try:
            answer[0] = checked(reward_fn(**arguments(everyone, tokenizer)), everyone)
        except Exception as error:
            answer[1] = error
    scores, error = broadcast_object_list(answer)
    if error is not None:
        raise error
    start = sum(map(len, shares[: accelerator.process_index]))
    return scores[start : start + len(episodes)]


def checked(scores: Any, episodes: list[Episode]) -> list[Tensor]:
    """What a reward function returned, as fp32 tensors () or (R). Raises ValueError that names the episode."""
    try:
        rows = [torch.as_tensor(row, dtype=torch.float32).detach().cpu() for row in scores]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"reward_fn must return numbers, or one list of numbers per sample; it returned "
            f"{type(scores).__name__} ({error})."
        ) from error
    if len(rows) != len(episodes):
        raise ValueError(f"reward_fn returned {len(rows)} rewards for {len(episodes)} samples.")
    if len({row.dim() for row in rows}) > 1:
        raise ValueError("reward_fn must return a number for every sample, or a list for every sample, not both.")
    for i, (row, episode) in enumerate(zip(rows, episodes, strict=True)):
        if row.dim() > 1 or (row.dim() == 1 and len(row) != len(episode.response)):
            raise ValueError(
                f"reward_fn returned a reward of shape {tuple(row.shape)} for sample {i}, whose response has "
                f"{len(episode.response)} tokens: give one number, or one per token."
            )
        if not torch.isfinite(row).all():
            bad = next(x for x in row.flatten().tolist() if not math.isfinite(x))
            raise ValueError(f"reward_fn returned {bad} for sample {i}: {episode.prompt_text + episode.text!r}")
    return rows


def shared_rows(total: int, processes: int, rank: int) -> range:
    """Which of `total` rows are this rank's: contiguous, sizes differ by one at most."""
    return range(total * rank // processes, total * (rank + 1) // processes)
