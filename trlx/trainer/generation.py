"""What `gen_kwargs` may say, and where a response ends."""

from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

from summarize_rlhf.values import check_bounds, of_type

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
    longest = options["max_new_tokens"]
    for each in longest if isinstance(longest, list) and longest else [longest]:
        check_bounds(f"{where}.max_new_tokens", of_type(f"{where}.max_new_tokens", each, int), {"least": 1})
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


def cut_at_stop(tokenizer: PreTrainedTokenizerBase, response: list[int], stops: list[str]) -> tuple[list[int], str]:
    """The response up to the token that completes the first of `stops`, and its text before that stop.

    The ids keep the stop sequence: the policy wrote it, and is to learn when to stop. A stop that names a control
    token ("<|im_end|>") is this token; text does not show it.
    """
    named = {
        number for number, token in tokenizer.added_tokens_decoder.items() if token.special and str(token) in stops
    }
    response = response[: next((i for i, token in enumerate(response) if token in named), len(response)) + 1]
    text = tokenizer.decode(response, skip_special_tokens=True)
    if not any(stop in text for stop in stops):
        return response, text
    for length in range(1, len(response) + 1):
        text = tokenizer.decode(response[:length], skip_special_tokens=True)
        found = [text.index(stop) for stop in stops if stop in text]
        if found:
            return response[:length], text[: min(found)].rstrip()
    return response, text
