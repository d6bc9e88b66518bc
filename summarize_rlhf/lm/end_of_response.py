"""Where a response ends: at an EOS, which belongs to it, at a stop sequence, or at `max_new_tokens`."""

from transformers import GenerationConfig, PreTrainedTokenizerBase


def end_ids(config: GenerationConfig) -> list[int]:
    """The ids that end a response."""
    return config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]


def up_to_end(response: list[int], ends: list[int]) -> list[int]:
    """The ids up to the first EOS and with it: `generate` pads behind it, maybe with the same id."""
    stop = next((i for i, token in enumerate(response) if token in ends), len(response) - 1)
    return response[: stop + 1]


def text_after(tokenizer: PreTrainedTokenizerBase, prompt: list[int], response: list[int]) -> str:
    """What `response` adds to the text of `prompt`, as one reads it there; no special tokens.

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
    """The response up to the token that completes the first of `stops`, and its text (`text_after`) before that stop.

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
