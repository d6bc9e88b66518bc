"""Call the user's reward and metric functions on decoded responses, and check what they return."""

import inspect
import math
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from summarize_rlhf import UserError
from summarize_rlhf.lm.end_of_response import cut_at_stop, has_ended
from summarize_rlhf.tokenizer import prefix_ids
from trlx.pipeline.offline_pipeline import Prompt
from trlx.trainer.deadline import deadline


class Episode(NamedTuple):
    """A prompt and the response sampled for it."""

    prompt: list[int]  # (Q)
    response: list[int]  # (R)
    prompt_text: str
    text: str  # what the response adds to it, without special tokens and without a stop sequence
    metadata: dict[str, Any]


def decode(
    tokenizer: PreTrainedTokenizerBase, prompts: list[Prompt], responses: list[list[int]], stop_sequences: list[str]
) -> list[Episode]:
    """Decode responses to text, for `reward_fn` and logs alone. Stop sequences end a response here."""
    episodes = []
    for prompt, response in zip(prompts, responses, strict=True):
        response, text = cut_at_stop(tokenizer, prompt.ids, response, stop_sequences)
        episodes.append(Episode(prompt.ids, response, prompt.text, text, prompt.metadata))
    return episodes


def as_rows(episodes: list[Episode], scores: list[Tensor]) -> list[dict[str, Any]]:
    """Make the rows of a rollout log: prompt, output and score, of a reward per token its sum."""
    columns = zip(episodes, scores, strict=True)
    return [{"prompt": e.prompt_text, "output": e.text, "score": score.sum().item()} for e, score in columns]


class RewardError(UserError, ValueError):
    """A reward or metric function that raised, or returned something else than it should. Names the sample."""


def call(function: Callable, episodes: list[Episode], tokenizer) -> Any:
    """Call `function(samples, prompts, outputs, tokenizer, **metadata)`, each key of the metadata as a list.

    A function with a parameter `output_ids` also gets the sampled ids: what a reward per token should count by. Of one
    that yields its answers, they are all taken here.
    """
    given = {
        "samples": [e.prompt_text + e.text for e in episodes],
        "prompts": [e.prompt_text for e in episodes],
        "outputs": [e.text for e in episodes],
        "tokenizer": tokenizer,
    }
    if "output_ids" in inspect.signature(function).parameters:
        given["output_ids"] = [e.response for e in episodes]
    answer = function(**given, **{key: [e.metadata[key] for e in episodes] for key in episodes[0].metadata})
    return list(answer) if isinstance(answer, Iterator) else answer


def on_all_ranks(accelerator: Accelerator, function: Callable[[], Any], here: bool) -> Any:
    """Return `function()` where it runs (`here`), None elsewhere. A RewardError on one rank is raised on all."""
    result, failure = None, None
    if here:
        try:
            result = function()
        except RewardError as error:
            failure = error
    failures = gather_object([None if failure is None else str(failure)])
    if failure is not None:
        raise failure
    message = next((text for text in failures if text is not None), None)
    if message is not None:
        raise RewardError(message)
    return result


def on_main_rank(accelerator: Accelerator, function: Callable[[], Any]) -> Any:
    """Call `function` on rank 0 and return its result on every rank; a RewardError there is raised everywhere."""
    return broadcast_object_list([on_all_ranks(accelerator, function, accelerator.is_main_process)])[0]


def call_naming_sample(
    function: Callable, episodes: list[Episode], tokenizer, name: str, seconds: float | None = None
) -> Any:
    """Call as `call` does; errors name the sample: the first that the function fails on when it gets one alone.

    A function that ends the process (`sys.exit`) fails, and so does one that takes longer than `seconds`. A UserError
    says by itself what is wrong, and the function is not called again: processes may have to call it together.
    """
    limit = f"no answer within {seconds} s (train.reward_timeout)"
    try:
        with deadline(seconds, limit):
            return call(function, episodes, tokenizer)
    except UserError as error:
        raise RewardError(str(error)) from error
    except KeyboardInterrupt as error:
        raise RewardError(f"{name} was interrupted, on {len(episodes)} samples") from error
    except (Exception, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{name} failed with {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        for i, episode in enumerate(episodes):
            try:
                with deadline(seconds, limit):
                    call(function, [episode], tokenizer)
            except (Exception, SystemExit):
                raise RewardError(f"{told}, on sample {i}: {episode.prompt_text + episode.text!r}") from error
        raise RewardError(f"{told}, on {len(episodes)} samples together, on none of them alone") from error


def score(
    accelerator: Accelerator,
    reward_fn: Callable,
    episodes: list[Episode],
    tokenizer,
    everywhere: bool,
    seconds: float | None = None,
) -> list[Tensor]:
    """Return a score () or one value per response token (R) for each of this rank's episodes.

    `reward_fn` sees the episodes of all ranks once, in order, on rank 0; with `everywhere` each rank scores
    its own. A call may take `seconds`. Raises RewardError for a wrong count, type or length, for NaN or inf, and for
    what it raises.
    """

    def call_and_check(rows: list[Episode]) -> list[Tensor]:
        if not rows:
            return []
        return check_scores(call_naming_sample(reward_fn, rows, tokenizer, "reward_fn", seconds), rows, tokenizer)

    if everywhere:
        return on_all_ranks(accelerator, lambda: call_and_check(episodes), here=True)
    all_episodes = gather_object(episodes)
    scores = on_main_rank(accelerator, lambda: call_and_check(all_episodes))
    counts = gather_object([len(episodes)])
    start = sum(counts[: accelerator.process_index])
    return scores[start : start + len(episodes)]


def replace_unfinished(
    scores: list[Tensor], episodes: list[Episode], generation: GenerationConfig, score: float | None
) -> list[Tensor]:
    """Give each response that does not end with EOS the `score`, in place of its own () or (R); None changes nothing.

    A summary that was cut at `max_new_tokens` is none, whatever the reward model says of it: the policy learns to end
    (Huang et al. 2024, the "EOS trick"). Of a reward per token the last one takes it all.
    """
    if score is None:
        return scores
    changed = []
    for row, episode in zip(scores, episodes, strict=True):
        if not has_ended(episode.response, generation):
            row = torch.zeros_like(row)
            row.view(-1)[-1] = score
        changed.append(row)
    return changed


def check_scores(scores: Any, episodes: list[Episode], tokenizer) -> list[Tensor]:
    """Convert what a reward function returned to fp32 tensors () or (R). Raises RewardError that names the episode."""
    try:
        rows = [torch.as_tensor(row, dtype=torch.float32).detach().cpu() for row in scores]
    except (TypeError, ValueError, RuntimeError) as error:
        raise RewardError(
            f"reward_fn must return numbers, or one list of numbers per sample; it returned "
            f"{type(scores).__name__} ({error})."
        ) from error
    if len(rows) != len(episodes):
        raise RewardError(f"reward_fn returned {len(rows)} rewards for {len(episodes)} samples.")
    if all(row.shape == (1,) for row in rows):  # a column of scores (N, 1), as reward models give
        rows = [row.squeeze(0) for row in rows]
    if len({row.dim() for row in rows}) > 1:
        raise RewardError("reward_fn must return a number for every sample, or a list for every sample, not both.")
    for i, (row, episode) in enumerate(zip(rows, episodes, strict=True)):
        if row.dim() == 1:
            rows[i] = row = per_token(row, episode, tokenizer)
        if row.dim() > 1 or (row.dim() == 1 and len(row) != len(episode.response)):
            raise RewardError(
                f"reward_fn returned a reward of shape {tuple(row.shape)} for sample {i}, whose response has "
                f"{len(episode.response)} tokens: give one number, or one per token (a parameter output_ids gets them)."
            )
        if not torch.isfinite(row).all():
            bad = next(x for x in row.flatten().tolist() if not math.isfinite(x))
            raise RewardError(f"reward_fn returned {bad} for sample {i}: {episode.prompt_text + episode.text!r}")
    return rows


def per_token(row: Tensor, episode: Episode, tokenizer) -> Tensor:
    """Move a reward per token of `tokenizer(output)`, as scripts for trlX give, to the sampled tokens (R).

    These can differ: the text has no EOS, and encodes as other tokens than were sampled. Tokens without a
    reward earn 0, rewards beyond the last token fall on it, and on the first those of what the tokenizer puts before
    a text: a BOS, and a blank of its own besides the text's. Of any other length, `row` comes back as it is.
    """
    length, ids = len(episode.response), tokenizer(episode.text).input_ids
    if len(row) == length or len(row) != len(ids):
        return row
    first = len(prefix_ids(tokenizer))
    if ids[first : first + 1] != episode.response[:1] == ids[first + 1 : first + 2]:
        first += 1
    places = torch.arange(len(row)) - first
    return torch.zeros(length).index_add(0, places.clamp(min=0, max=length - 1), row)


def shared_rows(total: int, processes: int, rank: int) -> range:
    """Return which of `total` rows are this rank's: contiguous, sizes differ by one at most."""
    return range(total * rank // processes, total * (rank + 1) // processes)
