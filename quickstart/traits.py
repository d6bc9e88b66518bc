"""Count the traits of a summary: known exactly, like the gold score, because the world of the posts is closed."""

from itertools import islice

from quickstart.gold import find_facts
from quickstart.vocabulary import GIST

GRAM = 4  # words of a run that counts as copied


def traits(prompt: str, summary: str) -> dict[str, float]:
    """Return counts and shares by name; `prompt` and `summary` as in `gold_score`.

    kept      share of the post's gist facts (who, deed, thing, amount, question) that the summary has
    invented  1 if the summary has a value that the post does not have, whatever its kind; else 0
    side      number of the post's side facts (place, span, day, hobby) that the summary has
    words     its length
    copied    share of its runs of four words that stand in the post; 0 for a shorter summary
    """
    post = prompt.strip().removesuffix("TL;DR:")
    summary = summary.strip().removeprefix("TL;DR:").strip()
    in_post, told = find_facts(post), find_facts(summary)
    gist = {fact for fact in in_post if fact[0] in GIST}
    runs, known = grams(summary), set(grams(post))
    return {
        "kept": len(told & gist) / max(1, len(gist)),
        "invented": float(bool(told - in_post)),
        "side": float(len((told & in_post) - gist)),
        "words": float(len(summary.split())),
        "copied": sum(run in known for run in runs) / max(1, len(runs)),
    }


def grams(text: str) -> list[tuple[str, ...]]:
    """List all runs of four words, in lower case and without surrounding punctuation."""
    words = [stripped for word in text.lower().split() if (stripped := word.strip('.,!?;:()"'))]
    return list(zip(*(islice(words, start, None) for start in range(GRAM)), strict=False))
