"""Compute the gold score: how good a summary is, known because the world of the posts is closed.

It depends on the text alone: `quickstart.reading` finds out who did what to whom. Stage 2 sees only noisy comparisons
drawn from it, stage 3 only stage 2's model of them; so the gold score tells whether stage 3's gain is real.
"""

import math
import random
import re
from collections import Counter
from functools import cache, lru_cache
from itertools import pairwise

from quickstart import templates
from quickstart.posts import draw_facts, write_label, write_post
from quickstart.reading import find_values, read_post, read_summary
from quickstart.vocabulary import GIST, VALUES

WEIGHTS = dict.fromkeys(GIST, 1.0)  # the gist is worth 5
INVENTED = 0.5  # lost for each value, and for a role, that the post does not say
LONG_FROM, LONG_WIDTH, LONG_COST = 30, 3.0, 0.12  # words; words; score a word beyond, reached smoothly
SHORT_BELOW, SHORT_COST = 8, 0.2  # words; score a missing word
REPEATED = 4.0  # times the share of three-word runs seen before
GARBAGE = 6.0  # times the share of words that nobody here uses
BROKEN, BROKEN_FREE = 4.0, 0.10  # times the share of unheard word pairs beyond the free share
UNFINISHED = 0.5  # no full stop, question or exclamation mark at the end
FLOOR = -4.0

_WORD = re.compile(r"<\w+>|[^\s.,!?;:()\"]+")
_SENTENCE = re.compile(r"[^.!?]+[.!?]*")


@lru_cache(maxsize=20_000)
def _words(text: str) -> tuple[str, ...]:
    """Split into lower-case words, with each fact replaced by <kind>, so that grammar is judged apart from facts."""
    text = text.lower()
    for kind, value in find_values(text):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", f"<{kind}>", text)
    return tuple(_WORD.findall(text))


@cache
def _language() -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """Collect words and word pairs of the generator's summaries, from a fixed draw that meets nearly all."""
    rng = random.Random("the language of summaries")
    heard = [_words(write_label(rng, write_post(rng, draw_facts(rng)))) for _ in range(3000)]
    heard += [_words(text) for text in templates.GENERIC]
    words = {word for text in heard for word in text}
    words.update(value.lower() for values in VALUES.values() for value in values)
    return frozenset(words), frozenset(pair for text in heard for pair in pairwise(text))


def invented(prompt: str, summary: str) -> int:
    """Count what `summary` says and the post in `prompt` does not: wrong values, and a role turned round.

    A value that the post names in passing is wrong where the summary makes it the fact. Sentences quoted from the post
    are true.
    """
    post, told = read_post(prompt), read_summary(summary)
    own = " ".join(text for text in map(str.strip, _SENTENCE.findall(summary)) if text not in prompt)
    wrong = sum(
        value != post.said[kind] if kind in GIST else (kind, value) not in post.named
        for kind, value in find_values(own)
    )
    return wrong + (told.said["voice"] not in (None, post.said["voice"]))


def gold_parts(prompt: str, summary: str) -> dict[str, float]:
    """Return the terms of `gold_score` by name; all but `kept` are 0 or negative.

    kept        Σ WEIGHTS over gist facts that the summary says as the post does (5 if all); who, deed and thing in a
                clause that tells the event with the right doer
    invented    −0.5 for each thing that the summary says and the post does not (`invented`)
    long        −0.12·3·softplus((words − 30)/3): next to nothing at 24 words, −.25 at 30, −1.2 at 40, −2.4 at 50
    short       −0.2 a word missing to 8
    repeated    −4 × share of three-word runs that came before
    garbage     −6 × share of words that stand neither in the post nor in anything the generator says
    broken      −4 × share, beyond .10, of neighbouring words never heard together, in the post or from the generator:
                lists of facts without a sentence, scrambled sentences
    unfinished  −0.5 unless it ends with . ! or ?
    """
    prompt = prompt.strip().removesuffix("TL;DR:").strip()
    summary = summary.strip().removeprefix("TL;DR:").strip()
    post, told = read_post(prompt).said, read_summary(summary).said
    event = told["voice"] == post["voice"]
    kept = {kind for kind in GIST if told[kind] is not None and told[kind] == post[kind]}
    length = len(summary.split())
    words, post_words = _words(summary), _words(prompt)
    known_words, known_pairs = _language()
    runs = Counter(zip(words, words[1:], words[2:], strict=False))
    pairs, post_pairs = list(pairwise(words)), set(pairwise(post_words))
    strange = sum(word not in known_words and word not in set(post_words) for word in words if word[0] != "<")
    unheard = sum(pair not in known_pairs and pair not in post_pairs for pair in pairs)
    return {
        "kept": sum(WEIGHTS[kind] for kind in kept if event or kind in ("amount", "question")),
        "invented": -INVENTED * invented(prompt, summary),
        "long": -LONG_COST * LONG_WIDTH * math.log1p(math.exp(min((length - LONG_FROM) / LONG_WIDTH, 50.0))),
        "short": -SHORT_COST * max(0, SHORT_BELOW - length),
        "repeated": -REPEATED * (1 - len(runs) / runs.total() if runs else 0.0),
        "garbage": -GARBAGE * strange / max(1, len(words)),
        "broken": -BROKEN * max(0.0, unheard / max(1, len(pairs)) - BROKEN_FREE),
        "unfinished": 0.0 if summary.endswith((".", "!", "?")) else -UNFINISHED,
    }


def gold_score(prompt: str, summary: str) -> float:
    """Score `summary` for the post in `prompt`, in [-4, 5): the sum of `gold_parts`, not below -4.

    `prompt` may end with "TL;DR:" (TL;DR rows) or with the post (comparison rows); `summary` may begin with "TL;DR:".
    """
    return max(FLOOR, sum(gold_parts(prompt, summary).values()))
