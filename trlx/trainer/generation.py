"""Sampling responses, token in, token out."""

from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from summarize_rlhf.generate import left_pad

# What PPO trains on is the whole distribution, divided by the temperature. Everything else bends it.
WHOLE_DISTRIBUTION = {"do_sample": True, "use_cache": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
# Options that hold a list by nature; a list for any other is a sweep.
LISTS = {"eos_token_id", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens"}
# Options that would change what `generate` returns, or when it stops, behind the trainer's back.
INSTEAD = {
    "max_length": "it counts the prompt and its padding: use max_new_tokens",
    "min_length": "it counts the prompt and its padding: use min_new_tokens",
    "stop_strings": "use the stop_sequences of trlx.train",
    "num_return_sequences": "give a prompt several times instead",
    "return_dict_in_generate": "the trainer needs the ids alone",
    "max_time": "responses cut by the clock would count as finished",
}


def check_options(options: dict[str, Any], where: str) -> None:
    """Raises ValueError that names an option `generate` does not have, or that is not supported, or is missing."""
    known = set(GenerationConfig().to_dict())
    for name in options:
        if name not in known:
            raise ValueError(f"{where}: generate() has no option {name!r}.")
        if name in INSTEAD:
            raise ValueError(f"{where}: {name!r} is not supported; {INSTEAD[name]}.")
    if "max_new_tokens" not in options:
        raise ValueError(f"{where} needs max_new_tokens: how many tokens a response has at most.")
    sweeps = [name for name, value in options.items() if isinstance(value, list) and name not in LISTS]
    if len(sweeps) > 1:
        raise ValueError(f"{where}: only one option can be swept, not {' and '.join(sweeps)}.")


def sweep(options: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """`options` once per value of the one that holds a list, each with its suffix for metrics: "@temperature=0.5"."""
    for name, value in options.items():
        if isinstance(value, list) and name not in LISTS:
            return [(f"@{name}={each}", options | {name: each}) for each in value]
    return [("", options)]


def generation_config(tokenizer: PreTrainedTokenizerBase, options: dict[str, Any]) -> GenerationConfig:
    """`options` over the whole distribution."""
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    merged = special | WHOLE_DISTRIBUTION | options
    if not merged["do_sample"]:
        merged = {key: value for key, value in merged.items() if key not in ("temperature", "top_k", "top_p")}
    return GenerationConfig(**merged)


def bends_distribution(options: dict[str, Any]) -> list[str]:
    """The names among `options` that make the sampled distribution another one than the trained."""
    harmless = {"max_new_tokens", "temperature", "use_cache", "eos_token_id", "pad_token_id"}
    neutral = {"top_k": (0, None), "top_p": (1.0, None), "do_sample": (True,), "num_beams": (1, None)}
    return [key for key, value in options.items() if key not in harmless and value not in neutral.get(key, ())]


def generate(model: PreTrainedModel, ids: Tensor, mask: Tensor | None, config: GenerationConfig) -> Tensor:
    """Ids (B, Q + R) after left-padded `ids` (B, Q), by `config` alone.

    A checkpoint's own generation_config (a repetition penalty, a top-p …) would fill what `config` leaves open,
    and leak into the samples: it is set aside.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        return model.generate(
            ids, attention_mask=mask, generation_config=config, synced_gpus=False
        )  # weights are whole
    finally:
        model.generation_config = own


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    config: GenerationConfig,
    prompts: list[list[int]],
    batch_size: int,
    progress: str | None,
) -> list[list[int]]:
    """Response ids for each prompt, in order; each ends with its EOS or has `max_new_tokens` tokens.

    Prompts are batched by length and padded on the left. `progress` names the bar; None shows none.
    """
    ends = end_ids(config)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    responses: list[list[int]] = [[]] * len(prompts)
    with tqdm(total=len(prompts), desc=progress, disable=progress is None, unit="sample", leave=False) as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            ids, mask = left_pad([prompts[i] for i in rows], config.pad_token_id, model.device)
            output = generate(model, ids, mask, config)
            for row, response in zip(rows, output[:, ids.shape[1] :].tolist(), strict=True):
                responses[row] = up_to_end(response, ends)
            bar.update(len(rows))
    return responses


def end_ids(config: GenerationConfig) -> list[int]:
    """The ids that end a response."""
    return config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]


def up_to_end(response: list[int], ends: list[int]) -> list[int]:
    """The ids up to the first EOS and with it: `generate` pads behind it, maybe with the same id."""
    stop = next((i for i, token in enumerate(response) if token in ends), len(response) - 1)
    return response[: stop + 1]


def cut_at_stop(tokenizer: PreTrainedTokenizerBase, response: list[int], stops: list[str]) -> tuple[list[int], str]:
    """The response up to the token that completes the first of `stops`, and its text before that stop.

    The ids keep the stop sequence: the policy wrote it, and is to learn when to stop.
    """
    text = tokenizer.decode(response, skip_special_tokens=True)
    if not any(stop in text for stop in stops):
        return response, text
    for length in range(1, len(response) + 1):
        text = tokenizer.decode(response[:length], skip_special_tokens=True)
        found = [text.index(stop) for stop in stops if stop in text]
        if found:
            return response[:length], text[: min(found)].rstrip()
    return response, text
