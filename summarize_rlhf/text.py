"""The prompt text, byte for byte: how a post and a summary become what a model reads.

A *body* is everything of a prompt before its final ``TL;DR:`` (subreddit, title, post). The policy reads
``prompt_text(body)`` and continues it; the reward model reads ``rm_text(body, summary)``. All three stages
build their text here and cut too long posts here, so that what one was trained on is what the next one sees.
"""

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerFast

from summarize_rlhf.errors import UserError

TLDR = "TL;DR:"
START = "<|startoftext|>"  # no token of GPT-J: it splits into BPE pieces, as in the released reward model
END = "<|endoftext|>"
TEMPLATE = f"sft: {{body}}\\n{TLDR} {{summary}}<eos> | rm: {START}{{body}}\\n{TLDR} {{summary}}{END} | cut: end of body"


def split_prompt(prompt: str) -> str:
    """The body of a TL;DR row's prompt: what stands before its last ``TL;DR:``. Earlier ones belong to the post."""
    body, found, rest = prompt.rpartition(TLDR)
    if not found or rest.strip():
        raise UserError(f"the prompt should end with {TLDR!r}, but it ends with {prompt[-40:]!r}")
    return body.rstrip()


def prompt_text(body: str) -> str:
    """What the policy reads before it writes a summary."""
    return f"{body.rstrip()}\n{TLDR}"


def sft_text(prompt: str, label: str) -> str:
    """Prompt, one space, reference, whatever blanks the source has. The EOS follows as an id, not as text."""
    return f"{prompt.rstrip()} {label.strip()}"


def rm_text(body: str, summary: str) -> str:
    """What the reward model scores. ``summary`` may already begin with ``TL;DR:`` (comparison rows); it stands once."""
    summary = summary.strip().removeprefix(TLDR).strip()
    return f"{START}{body.rstrip()}\n{TLDR} {summary}{END}"


def count_tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    """Tokens of ``text`` as one string; texts beyond the model's length raise no warning, for they are cut next."""
    return len(tokenizer(text, verbose=False).input_ids)


def cut_prompts(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], budget: int) -> list[str]:
    """The bodies of prompts, each cut so that the policy reads at most ``budget`` tokens (see ``cut_post``)."""
    bodies = [split_prompt(prompt) for prompt in prompts]
    lengths = map(len, tokenizer([prompt_text(body) for body in bodies], verbose=False).input_ids)
    return [
        body if length <= budget else cut_post(tokenizer, body, budget, prompt_text)
        for body, length in zip(bodies, lengths, strict=True)
    ]


def cut_post(tokenizer: PreTrainedTokenizerFast, body: str, budget: int, render: Callable[[str], str]) -> str:
    """The longest beginning of ``body``, ending on a token, for which ``render(body)`` has at most ``budget`` tokens.

    ``render`` builds the whole text around the body (``prompt_text``, or ``rm_text`` with its summary); it is
    tokenised as one string, as the stages do. Only the end of the post is ever lost: never ``TL;DR:``, never
    the summary. A body that fits comes back unchanged. Raises ``UserError`` if not even an empty post fits.
    """
    length = count_tokens(tokenizer, render(body))
    if length <= budget:
        return body
    offsets = tokenizer(body, add_special_tokens=False, return_offsets_mapping=True, verbose=False).offset_mapping
    ends = [0, *(end for _, end in offsets)]  # ends[k]: the character at which k tokens of the body end
    # Each token dropped shortens the text by about one; at the cut, tokens may join differently: hence the slack.
    most = max(0, min(len(offsets), len(offsets) - (length - budget) + 8))
    for end in reversed(ends[: most + 1]):
        if count_tokens(tokenizer, render(body[:end])) <= budget:
            return body[:end]
    least = count_tokens(tokenizer, render(""))
    raise UserError(
        f"a summary needs {least} tokens even with an empty post, but {budget} are allowed: raise the length limit "
        f"or leave out the row. The text ends with {render('')[-80:]!r}"
    )
