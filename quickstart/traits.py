"""Count the traits of a summary: known exactly, like the gold score, because the world of the posts is closed."""

from itertools import islice

from quickstart.gold import invented
from quickstart.reading import read_post, read_summary
from quickstart.vocabulary import GIST, SIDE

GRAM = 4  # words of a run that counts as copied


def traits(prompt: str, summary: str) -> dict[str, float]:
    """Return counts and shares by name; `prompt` and `summary` as in `gold_score`.

    kept      share of the post's gist facts (who, deed, thing, amount, question) that the summary says as the post does
    invented  1 if the summary says anything that the post does not: a value that is not there, or is there but is not
              the fact, or the event with its doer turned round; else 0
    side      number of the post's side facts (place, span, day, hobby) that the summary has
    words     its length
    copied    share of its runs of four words that stand in the post; 0 for a shorter summary
    """
    post = prompt.strip().removesuffix("TL;DR:")
    summary = summary.strip().removeprefix("TL;DR:").strip()
    read, told = read_post(post), read_summary(summary)
    kept = sum(told.said[kind] is not None and told.said[kind] == read.said[kind] for kind in GIST)
    runs, known = grams(summary), set(grams(post))
    return {
        "kept": kept / len(GIST),
        "invented": float(invented(post, summary) > 0),
        "side": float(sum(kind in SIDE for kind, _ in told.named & read.named)),
        "words": float(len(summary.split())),
        "copied": sum(run in known for run in runs) / max(1, len(runs)),
    }


def grams(text: str) -> list[tuple[str, ...]]:
    """List all runs of four words, in lower case and without surrounding punctuation."""
    words = [stripped for word in text.lower().split() if (stripped := word.strip('.,!?;:()"'))]
    return list(zip(*(islice(words, start, None) for start in range(GRAM)), strict=False))
