"""How much a summary repeats itself."""


def repeated_share(summary: str, n: int = 4) -> float:
    """Return the share of the summary's n-grams that stood earlier in it, from 0 to 1: 1 − distinct / all.

    Words are what blanks separate, in lower case. A summary of fewer than `n` words repeats nothing: 0.0. (seq-rep-n of
    Welleck et al. 2020, arXiv 1908.04319, with n = 4.)
    """
    words = summary.lower().split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
