"""How much of a summary is copied from its post, and from where in it."""

import itertools


def words_of(text: str) -> list[str]:
    """Return what blanks separate, in lower case."""
    return text.lower().split()


def copied_share(summary: str, post: str, n: int = 4) -> float:
    """Return the share of the summary's n-grams that stand in the post, from 0 to 1.

    Words as in `words_of`; an n-gram that the summary has twice counts twice. A summary of fewer than `n` words has
    none: 0.0. (Extractiveness by n-grams: See et al. 2017, arXiv 1704.04368, section 6.2.)
    """
    words, source = words_of(summary), words_of(post)
    there = {tuple(source[i : i + n]) for i in range(len(source) - n + 1)}
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return sum(gram in there for gram in grams) / len(grams) if grams else 0.0


def source_position(summary: str, post: str) -> float | None:
    """Return from where in the post a summary's words come: 0 its beginning, 1 its end; None where nothing is shared.

    The mean over the summary's pairs of adjoining words that stand in the post, each at its first place there. Words as
    in `words_of`.
    """
    words, source = words_of(summary), words_of(post)
    place: dict[tuple[str, str], int] = {}
    for i, pair in enumerate(itertools.pairwise(source)):
        place.setdefault(pair, i)
    found = [place[pair] for pair in itertools.pairwise(words) if pair in place]
    last = len(source) - 2  # place of the last pair
    return sum(found) / len(found) / last if found and last else None
