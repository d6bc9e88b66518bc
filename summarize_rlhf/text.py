"""The prompt text, byte for byte: how a post and a summary become the text that a model reads.

A *body* is everything of a prompt before its final ``TL;DR:`` (subreddit, title, post). The policy reads
``prompt_text(body)`` and continues it; the reward model reads ``rm_text(body, summary)``. All three stages
build their text here and cut too long posts here, so that what one was trained on is what the next one sees.

Data sets differ in where they put ``TL;DR:``: behind the post, before the summary, or both. Here it always stands once
between them, exactly so spelt; blanks and line ends on either side of it go. Nothing else of a text is changed.
"""

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerFast

from summarize_rlhf import UserError, named
from summarize_rlhf.tokenizer import plain_encodings, prefix_ids, token_ids

TLDR = "TL;DR:"
START = "<|startoftext|>"  # no token of GPT-J: it splits into BPE pieces, as in the released reward model
END = "<|endoftext|>"  # GPT-J's EOS, which closes a text of the released reward model
TEMPLATE = f"sft: {{body}}\\n{TLDR} {{summary}}<eos> | rm: {START}{{body}}\\n{TLDR} {{summary}}<eos> | cut: end of body"


def split_prompt(prompt: str) -> str:
    """Return the body of a TL;DR row's prompt: all before its last ``TL;DR:``. Earlier ones belong to the post."""
    body, found, rest = prompt.rpartition(TLDR)
    if not found or rest.strip():
        raise UserError(f"the prompt should end with {TLDR!r}, but it ends with {prompt[-40:]!r}")
    return bare_body(body)


def bare_body(body: str) -> str:
    """Strip blanks and ``TL;DR:`` from the end of a post: a comparison's ``prompt`` may end with one or not."""
    body = body.rstrip()
    while body.endswith(TLDR):
        body = body.removesuffix(TLDR).rstrip()
    return body


def bare_summary(summary: str) -> str:
    """Strip blanks and a leading ``TL;DR:`` from a summary: comparison rows have one, TL;DR rows have none."""
    summary = summary.strip()
    while summary.startswith(TLDR):
        summary = summary.removeprefix(TLDR).lstrip()
    return summary


def prompt_text(body: str) -> str:
    """Build the text that the policy reads before it writes a summary."""
    return f"{bare_body(body)}\n{TLDR}"


def sft_text(prompt: str, label: str) -> str:
    """Build prompt (or its body), one space, label, whatever blanks the source has. The EOS follows as an id."""
    return f"{prompt_text(prompt)} {bare_summary(label)}"


def rm_text(body: str, summary: str) -> str:
    """Build the text that the reward model scores. Its EOS follows as an id: the score is read before it."""
    return f"{START}{bare_body(body)}\n{TLDR} {bare_summary(summary)}"


def split_prompts(prompts: Sequence[str], places: Sequence[str]) -> list[str]:
    """Apply ``split_prompt`` to each; an error names the prompt's place ("train.jsonl, row 13")."""
    bodies = []
    for prompt, place in zip(prompts, places, strict=True):
        with named(place):
            bodies.append(split_prompt(prompt))
    return bodies


def split_labels(labels: Sequence[str], places: Sequence[str]) -> list[str]:
    """Apply ``bare_summary`` to each. Raises ``UserError``, naming the place, for one that is only ``TL;DR:``."""
    summaries = [bare_summary(label) for label in labels]
    for summary, place in zip(summaries, places, strict=True):
        if not summary:
            raise UserError(f"{place}: the summary is {TLDR!r} and nothing else; fill it in or leave out the row")
    return summaries


def cut_prompts(
    tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], budget: int, places: Sequence[str]
) -> list[str]:
    """Return the bodies of prompts, each cut so that the policy reads at most ``budget`` tokens (see ``cut_post``).

    Raises ``UserError``, naming the prompt's place, for one without ``TL;DR:`` at its end and as ``token_ids`` does.
    """
    bodies = split_prompts(prompts, places)
    lengths = map(len, token_ids(tokenizer, [prompt_text(body) for body in bodies], places))
    cut = []
    for body, length, place in zip(bodies, lengths, places, strict=True):
        with named(place):
            cut.append(body if length <= budget else cut_post(tokenizer, body, budget, prompt_text))
    return cut


def cut_post(tokenizer: PreTrainedTokenizerFast, body: str, budget: int, render: Callable[[str], str]) -> str:
    """Cut ``body`` to its longest beginning, ending on a token, with which ``render(body)`` fits ``budget`` ids.

    ``render`` builds the whole text around the body (``prompt_text``, or ``rm_text`` with its summary); it is
    tokenized as one string, as the stages do. Only the end of the post is ever lost: never ``TL;DR:``, never
    the summary. A body that fits comes back unchanged. Raises ``UserError`` if not even an empty post fits.
    """

    def length_with(body: str) -> int:
        return len(plain_encodings(tokenizer, [render(body)])[0])

    prefix = len(prefix_ids(tokenizer))
    room = budget - prefix
    length = length_with(body)
    if length <= room:
        return body
    offsets = plain_encodings(tokenizer, [body])[0].offsets
    ends = [0, *(end for _, end in offsets)]  # ends[k]: the character at which k tokens of the body end
    # Each token dropped shortens the text by about one; at the cut, tokens may join differently: hence the slack.
    most = max(0, min(len(offsets), len(offsets) - (length - room) + 8))
    for end in reversed(ends[: most + 1]):
        if length_with(body[:end]) <= room:
            return body[:end]
    raise UserError(
        f"a summary needs {prefix + length_with('')} tokens even with an empty post, but {budget} are allowed: raise "
        f"the length limit or leave out the row. The text ends with {render('')[-80:]!r}"
    )
