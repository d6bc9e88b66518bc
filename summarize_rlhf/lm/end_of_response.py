"""What ends a response: an EOS, which belongs to it, a stop sequence, or `max_new_tokens`. Everybody asks here.

An EOS is any id of `end_ids`: the tokenizer's, unless `gen_kwargs` gives `eos_token_id` (generation_options.py).
Padding may have the same id, so that ends are found by position, never by counting padding.
"""

from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase


def end_ids(config: GenerationConfig) -> list[int]:
    """Return the ids of EOS, any of which ends a response."""
    return config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]


def has_ended(response: list[int], config: GenerationConfig) -> bool:
    """Whether a response ended by EOS, rather than at a stop sequence or at `max_new_tokens`."""
    return response[-1] in end_ids(config)


def up_to_end(response: list[int], config: GenerationConfig) -> list[int]:
    """Cut a response behind its first EOS: `generate` pads there, maybe with the same id."""
    ends = end_ids(config)
    stop = next((i for i, token in enumerate(response) if token in ends), len(response) - 1)
    return response[: stop + 1]


def set_ends(
    config: PretrainedConfig | GenerationConfig,
    tokenizer: PreTrainedTokenizerBase,
    eos_token_id: int | list[int] | None = None,
) -> None:
    """Write into a model's config where its responses end (default: at the tokenizer's EOS), and what pads them."""
    config.eos_token_id = tokenizer.eos_token_id if eos_token_id is None else eos_token_id
    config.pad_token_id = tokenizer.pad_token_id


def text_after(tokenizer: PreTrainedTokenizerBase, prompt: list[int], response: list[int]) -> str:
    """Return what `response` adds to the text of `prompt`, as one reads it there; no special tokens.

    Decoded alone, a response would lose its first blank where a tokenizer marks words by the blank before them
    (SentencePiece: Llama, Mistral, Gemma). Where the prompt ends within a character there is no telling: then alone.
    """
    before = tokenizer.decode(prompt, skip_special_tokens=True)
    both = tokenizer.decode(prompt + response, skip_special_tokens=True)
    if before.endswith("\ufffd") or not both.startswith(before):
        return tokenizer.decode(response, skip_special_tokens=True)
    return both[len(before) :]


def cut_at_stop(
    tokenizer: PreTrainedTokenizerBase, prompt: list[int], response: list[int], stops: list[str]
) -> tuple[list[int], str]:
    """Cut a response behind the token that completes the first of `stops`; its text (`text_after`) ends before it.

    The ids keep the stop sequence: the policy wrote it, and is to learn when to stop. A stop that names a control
    token ("<|im_end|>") is this token; text does not show it.
    """
    named = {
        number for number, token in tokenizer.added_tokens_decoder.items() if token.special and str(token) in stops
    }
    response = response[: next((i for i, token in enumerate(response) if token in named), len(response)) + 1]
    text = text_after(tokenizer, prompt, response)
    if not any(stop in text for stop in stops):
        return response, text
    for length in range(1, len(response) + 1):
        text = text_after(tokenizer, prompt, response[:length])
        found = [text.index(stop) for stop in stops if stop in text]
        if found:
            return response[:length], text[: min(found)].rstrip()
    return response, text
