"""The generation options (`gen_kwargs`): which exist, their types and bounds, and what each changes."""

from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

from summarize_rlhf import UserError
from summarize_rlhf.run.values import check_bounds

# What PPO trains on is the whole distribution, divided by the temperature. Everything else bends it.
PLAIN_SAMPLING = {"do_sample": True, "use_cache": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
# Options that are handed on to the decoding loop or to `generate`, with type and bounds.
COUNT, FLAG, SHARE = (int, {"least": 0}), (bool, {}), (float, {"above": 0, "most": 1})
OPTIONS: dict[str, tuple[type, dict[str, float]]] = {
    "max_new_tokens": (int, {"least": 1}), "min_new_tokens": COUNT, "do_sample": FLAG, "use_cache": FLAG,
    "temperature": (float, {"least": 0}), "top_k": COUNT, "top_p": SHARE, "typical_p": SHARE, "top_h": SHARE,
    "min_p": (float, {"least": 0, "below": 1}), "epsilon_cutoff": (float, {"least": 0, "below": 1}),
    "eta_cutoff": (float, {"least": 0, "below": 1}), "repetition_penalty": (float, {"above": 0}),
    "no_repeat_ngram_size": COUNT, "renormalize_logits": FLAG, "remove_invalid_values": FLAG,
    "num_beams": (int, {"least": 1}), "length_penalty": (float, {}), "early_stopping": FLAG,
}  # fmt: skip
# Options that hold ids of tokens, most of them in lists; a list for any other option is a sweep.
TOKENS = {"eos_token_id", "pad_token_id", "bos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"}
SAMPLING_ALONE = {"temperature", "top_k", "top_p", "typical_p", "top_h", "min_p", "epsilon_cutoff", "eta_cutoff"}
COLDEST = 1e-3  # below it logits in fp32 overflow when they are divided
# Options that would change what `generate` returns, or when it stops, behind the trainer's back.
INSTEAD = {
    "max_length": "it counts the prompt and its padding: use max_new_tokens",
    "min_length": "it counts the prompt and its padding: use min_new_tokens",
    "stop_strings": "use the stop_sequences of trlx.train",
    "num_return_sequences": "give a prompt several times instead",
    "return_dict_in_generate": "the trainer needs the ids alone",
    "max_time": "responses cut by the clock would count as finished",
}


class OptionError(UserError, ValueError):
    """A generation option that does not exist, is not supported, or has a wrong value. Names the option."""


def check_options(
    options: dict[str, Any],
    where: str,
    *,
    sweeps: bool = False,
    sampled: bool = False,
    vocabulary: int | None = None,
) -> None:
    """Check the names, types and ranges of generation options; all of them pass here before anything is loaded.

    None stands for an option that is not given. With `sweeps` one option may hold a list of values, as in evaluation.
    `sampled` is for rollouts: PPO needs the log-probabilities of samples, and greedy decoding, which is what
    temperature 0 means, draws none. Ids of tokens are below `vocabulary` where that is known. Raises OptionError.
    """
    options = {name: value for name, value in options.items() if value is not None}
    known = GenerationConfig().to_dict()
    for name in options:
        if name in INSTEAD:
            raise OptionError(f"{where}: {name!r} is not supported; {INSTEAD[name]}.")
        if name not in OPTIONS and name not in TOKENS:
            reason = f"{name!r} is not supported" if name in known else f"generate() has no option {name!r}"
            raise OptionError(f"{where}: {reason}; supported are {', '.join([*OPTIONS, *sorted(TOKENS)])}.")
    if "max_new_tokens" not in options:
        raise OptionError(f"{where} needs max_new_tokens: how many tokens a response has at most.")
    swept = [name for name, value in options.items() if isinstance(value, list) and name not in TOKENS]
    if len(swept) > 1:
        raise OptionError(f"{where}: only one option can be swept, not {' and '.join(swept)}.")
    if swept and not sweeps:
        raise OptionError(f"{where}.{swept[0]} is a list: values are swept in evaluation alone, by method.gen_kwargs.")
    for name in swept:
        if not options[name]:
            raise OptionError(f"{where}.{name} is an empty list: a sweep needs at least one value.")
    for _, each in sweep(options):
        try:
            for name, value in each.items():
                _check_value(f"{where}.{name}", name, value, vocabulary)
        except (ValueError, OverflowError) as error:  # the latter for a number that no float can hold
            raise OptionError(f"{where}: {error}" if isinstance(error, OverflowError) else str(error)) from error
        if each.get("min_new_tokens", 0) > each["max_new_tokens"]:
            raise OptionError(
                f"{where}.min_new_tokens is {each['min_new_tokens']}, but max_new_tokens {each['max_new_tokens']}."
            )
        if sampled and is_greedy(each):
            raise OptionError(
                f"{where} asks for greedy decoding (do_sample false or temperature 0), but PPO learns from samples: a "
                "deterministic policy has no log-probabilities. Keep it for evaluation in method.gen_kwargs, and give "
                "rollouts their own method.gen_experience_kwargs."
            )


def _check_value(where: str, name: str, value: Any, vocabulary: int | None) -> None:
    """Raise ValueError unless the value has the option's type (nothing is converted) and is in its range."""
    if name in TOKENS:
        _check_ids(where, name, value, vocabulary)
        return
    kind, bounds = OPTIONS[name]
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise ValueError(f"{where} should be {wanted}, but is {value!r}.")
    if kind is not bool:
        check_bounds(where, value, bounds)
    if name == "temperature" and 0 < value < COLDEST:
        raise ValueError(f"{where} is {value}: use 0, which is greedy decoding, or at least {COLDEST}.")


def _check_ids(where: str, name: str, value: Any, vocabulary: int | None) -> None:
    """Raise ValueError unless `value` is a token's id, a list of ids, or for bad words a list of lists of them."""
    shapes = {"eos_token_id": (int, list), "pad_token_id": int, "bos_token_id": int}
    fits = isinstance(value, shapes.get(name, list))
    ids = value if isinstance(value, list) else [value]
    if name == "bad_words_ids" and fits:
        fits = all(isinstance(word, list) and word for word in ids)
        ids = [x for word in ids if fits for x in word]
    if not fits or not ids or any(not isinstance(x, int) or isinstance(x, bool) or x < 0 for x in ids):
        raise ValueError(f"{where} should hold ids of tokens, but is {value!r}.")
    if vocabulary is not None and max(ids) >= vocabulary:
        raise ValueError(f"{where} names the token {max(ids)}, but the vocabulary has {vocabulary} tokens.")


def is_greedy(options: dict[str, Any]) -> bool:
    """Whether the likeliest token is taken at each step; temperature 0 says so as well."""
    return options.get("do_sample") is False or options.get("temperature") == 0


def rollout_options(method) -> tuple[dict[str, Any], str]:
    """Return the options of rollouts and the field of PPOConfig that holds them: rollouts' own, else evaluation's (of a
    sweep the first)."""
    if method.gen_experience_kwargs:
        return method.gen_experience_kwargs, "method.gen_experience_kwargs"
    return sweep(method.gen_kwargs)[0][1], "method.gen_kwargs"


def check_method(method, vocabulary: int | None = None) -> None:
    """Check all generation options of a PPOConfig (`check_options`)."""
    check_options(method.gen_kwargs, "method.gen_kwargs", sweeps=True, vocabulary=vocabulary)
    check_options(*rollout_options(method), sampled=True, vocabulary=vocabulary)


def sweep(options: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return `options` once per value of the one that holds a list, with a suffix for metrics: "@temperature=0.5"."""
    for name, value in options.items():
        if isinstance(value, list) and name not in TOKENS:
            return [(f"@{name}={each}", options | {name: each}) for each in value]
    return [("", options)]


def generation_config(tokenizer: PreTrainedTokenizerBase, options: dict[str, Any]) -> GenerationConfig:
    """Build a GenerationConfig: `options` over plain sampling; EOS is the tokenizer's unless they give another."""
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    merged = special | PLAIN_SAMPLING | {name: value for name, value in options.items() if value is not None}
    if is_greedy(merged):
        merged = {name: value for name, value in merged.items() if name not in SAMPLING_ALONE} | {"do_sample": False}
    return GenerationConfig(**merged)


def bends_distribution(options: dict[str, Any]) -> list[str]:
    """Name those of `options` that make the sampled distribution differ from the trained one."""
    harmless = {"max_new_tokens", "temperature", "use_cache", "eos_token_id", "pad_token_id"}
    neutral = {"top_p": 1, "do_sample": True, "num_beams": 1, "min_new_tokens": 0, "repetition_penalty": 1, "top_k": 0}
    return [key for key, x in options.items() if x is not None and key not in harmless and x != neutral.get(key)]
