"""Compute the gold score: how good a summary is, known because the world of the posts is closed.

It depends on the text alone: facts are found by their wording in the closed vocabularies. Stage 2 sees only noisy
comparisons drawn from it, stage 3 only stage 2's model of them; so the gold score tells whether stage 3's gain is
real.
"""

import math
import random
import re
from collections import Counter
from functools import cache, lru_cache
from itertools import pairwise

from quickstart import templates
from quickstart.posts import draw_facts, human_plan, write_summary
from quickstart.vocabulary import PRONOUNS, THEMES, VALUES

WEIGHTS = {"who": 1.0, "deed": 0.5, "thing": 0.5, "amount": 1.0, "question": 1.0}  # the gist is worth 4
INVENTED = 1.0  # lost for each value that the post does not have, whatever its kind
LONG_FROM, LONG_WIDTH, LONG_COST = 30, 3.0, 0.12  # words; words; score a word beyond, reached smoothly
SHORT_BELOW, SHORT_COST = 9, 0.2  # words; score a missing word
REPEATED = 4.0  # times the share of three-word runs seen before
GARBAGE = 6.0  # times the share of words that nobody here uses
BROKEN, BROKEN_FREE = 4.0, 0.10  # times the share of unheard word pairs beyond the free share
UNFINISHED = 0.5  # no full stop, question or exclamation mark at the end
FLOOR = -2.0

_KIND_OF = {value.lower(): kind for kind, values in VALUES.items() for value in values}
_LONGEST_FIRST = sorted((v for v in _KIND_OF if v[0] != "$"), key=lambda v: (-len(v), v))
_VALUE = re.compile(r"\$\d[\d,]*\d|\$\d|\b(?:" + "|".join(map(re.escape, _LONGEST_FIRST)) + r")\b")
_WORD = re.compile(r"<\w+>|[^\s.,!?;:()\"]+")


@lru_cache(maxsize=20_000)
def find_facts(text: str) -> frozenset[tuple[str, str]]:
    """Find all (kind, value) of the closed vocabularies in `text`, longest first, each place once, in lower case.

    Any sum of dollars is an amount, in the vocabulary or not.
    """
    return frozenset((_KIND_OF.get(value, "amount"), value) for value in _VALUE.findall(text.lower()))


@lru_cache(maxsize=20_000)
def _words(text: str) -> tuple[str, ...]:
    """Split into lower-case words, with each fact replaced by <kind>, so that grammar is judged apart from facts."""
    slotted = _VALUE.sub(lambda match: f"<{_KIND_OF.get(match.group(), 'amount')}>", text.lower())
    return tuple(_WORD.findall(slotted))


def _pairs(words: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(pairwise(words))


@cache
def _language() -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """Collect words and word pairs of the generator's summaries, from a fixed draw that meets nearly all."""
    rng = random.Random("the language of summaries")
    words: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    for _ in range(300):
        for theme in THEMES:
            facts = draw_facts(rng, theme)
            told_in = (facts.place, facts.span, facts.day, facts.hobby)
            heard = _words(write_summary(rng, facts, human_plan(rng), told_in))
            words.update(heard)
            pairs.update(_pairs(heard))
    for text in templates.GENERIC:
        words.update(_words(text))
        pairs.update(_pairs(_words(text)))
    words.update(word for values in VALUES.values() for value in values for word in value.lower().split())
    return frozenset(words).union(*PRONOUNS.values()), frozenset(pairs)


def gold_parts(prompt: str, summary: str) -> dict[str, float]:
    """Return the terms of `gold_score` by name; all but `kept` are 0 or negative.

    kept        Σ WEIGHTS over gist facts of the post that the summary has (each once; 4 if all)
    invented    −1 a value in the summary that the post does not have
    long        −0.12·3·softplus((words − 30)/3): next to nothing at 24 words, −.25 at 30, −1.2 at 40, −2.4 at 50
    short       −0.2 a word missing to 9
    repeated    −4 × share of three-word runs that came before
    garbage     −6 × share of words that stand neither in the post nor in anything the generator says
    broken      −4 × share, beyond .10, of neighbouring words never heard together, in the post or from the generator:
                lists of facts without a sentence, scrambled sentences
    unfinished  −0.5 unless it ends with . ! or ?
    """
    post = prompt.strip().removesuffix("TL;DR:")
    summary = summary.strip().removeprefix("TL;DR:").strip()
    in_post, told = find_facts(post), find_facts(summary)
    length = len(summary.split())
    words, post_words = _words(summary), _words(post)
    known_words, known_pairs = _language()
    runs = Counter(zip(words, words[1:], words[2:], strict=False))
    pairs, post_pairs = _pairs(words), set(_pairs(post_words))
    strange = sum(word not in known_words and word not in set(post_words) for word in words if word[0] != "<")
    unheard = sum(pair not in known_pairs and pair not in post_pairs for pair in pairs)
    return {
        "kept": sum(WEIGHTS.get(kind, 0.0) for kind, _ in told & in_post),
        "invented": -INVENTED * len(told - in_post),
        "long": -LONG_COST * LONG_WIDTH * math.log1p(math.exp(min((length - LONG_FROM) / LONG_WIDTH, 50.0))),
        "short": -SHORT_COST * max(0, SHORT_BELOW - length),
        "repeated": -REPEATED * (1 - len(runs) / runs.total() if runs else 0.0),
        "garbage": -GARBAGE * strange / max(1, len(words)),
        "broken": -BROKEN * max(0.0, unheard / max(1, len(pairs)) - BROKEN_FREE),
        "unfinished": 0.0 if summary.endswith((".", "!", "?")) else -UNFINISHED,
    }


def gold_score(prompt: str, summary: str) -> float:
    """Score `summary` for the post in `prompt`, in [-2, 4): the sum of `gold_parts`, not below -2.

    `prompt` may end with "TL;DR:" (TL;DR rows) or with the post (comparison rows); `summary` may begin with "TL;DR:".
    """
    return max(FLOOR, sum(gold_parts(prompt, summary).values()))
