"""Summaries from a causal LM: one function for SFT's evaluation, PPO's tables and the inference script."""

from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from summarize_rlhf.lm import generation, generation_options
from summarize_rlhf.lm.end_of_response import has_ended
from summarize_rlhf.tokenizer import token_ids


class Generated(NamedTuple):
    """A summary as text, and the ids that it was sampled as: those of the post, those of the response."""

    text: str
    prompt: list[int]
    response: list[int]  # ends with EOS, or is `max_new_tokens` long
    ended: bool  # by EOS


def generate_summaries(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], **options
) -> list[str]:
    """Return the texts of `generate`'s summaries; same arguments."""
    return [summary.text for summary in generate(model, tokenizer, prompts, **options)]


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    *,
    max_new_tokens: int = 50,
    batch_size: int = 32,
    do_sample: bool = False,
    temperature: float = 1.0,
    seed: int = 0,
    uniforms: torch.Tensor | None = None,
    progress: str | None = "generate",
) -> list[Generated]:
    """Generate a summary for each of `prompts` (which end with "TL;DR:"), its text stripped, in the order given.

    Greedy by default; with `do_sample` from the model's own distribution (no top-k, no top-p), divided by
    `temperature` (0: greedy), reproducible by `seed` whatever the `batch_size`, which is of prompts read at once.
    `max_new_tokens` is in tokens, EOS included. `uniforms` (N, max_new_tokens), fp64 in [0, 1), decide the tokens in
    place of those that `seed` draws: for some of the rows of a larger draw. `progress` names the bar; None shows none.
    """
    options = {"max_new_tokens": max_new_tokens, "do_sample": do_sample, "temperature": temperature}
    generation_options.check_options(options, "generate_summaries", vocabulary=len(tokenizer))
    config = generation_options.generation_config(tokenizer, options)
    torch.manual_seed(seed)  # for families that only `generate` knows
    ids = token_ids(tokenizer, prompts)
    was_training = model.training
    model.eval()
    if uniforms is None:
        uniforms = generation.uniforms(len(prompts), config, seed)
    responses = generation.sample(model, config, ids, uniforms, batch_size, progress)
    model.train(was_training)
    texts = tokenizer.batch_decode([r.ids for r in responses], skip_special_tokens=True)
    return [
        Generated(text.strip(), prompt, response.ids, has_ended(response.ids, config))
        for text, prompt, response in zip(texts, ids, responses, strict=True)
    ]
