"""How much of a summary is copied from its post."""


def copied_share(summary: str, post: str, n: int = 4) -> float:
    """Return the share of the summary's n-grams that stand in the post, from 0 to 1.

    Words are what blanks separate, in lower case; an n-gram that the summary has twice counts twice. A summary of fewer
    than `n` words has none: 0.0. (Extractiveness by n-grams: See et al. 2017, arXiv 1704.04368, section 6.2.)
    """
    words, source = summary.lower().split(), post.lower().split()
    there = {tuple(source[i : i + n]) for i in range(len(source) - n + 1)}
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return sum(gram in there for gram in grams) / len(grams) if grams else 0.0
