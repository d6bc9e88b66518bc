"""Write pairs of summaries, labelled by a noisy reader: P(a over b) = sigmoid((gold_a - gold_b) / TAU), Bradley-Terry.

The writers below cover human habits and the failures that a policy can drift into while it is optimised against a
reward model, so that the reward model has seen both. Half of the pairs compare two passable summaries of one post, like
those of the policy.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from quickstart.gold import gold_score
from quickstart.posts import (
    Plan,
    Post,
    draw_facts,
    human_plan,
    sentence,
    swap_fact,
    write_post,
    write_summary,
)
from quickstart.templates import GENERIC
from quickstart.vocabulary import GIST, SIDE

TAU = 0.25  # noise of the reader, in units of the gold score
MIN_GAP = 0.05  # pairs closer than this in gold are uninformative and left out
MIN_WORDS = 5  # the published code drops pairs with a shorter summary
NONSENSE = ("asdf", "lorem", "qwx", "ipsum", "blorp", "zzz", "teh", "wug", "fnord", "hrm")


def _perfect(rng: random.Random, post: Post) -> str:
    return write_summary(rng, post.facts)


def _human(rng: random.Random, post: Post) -> str:
    return write_summary(rng, post.facts, human_plan(rng), post.sentences)


def _dropped(rng: random.Random, post: Post) -> str:
    kind = rng.choice(("who", "thing", "amount", "amount", "question", "question"))
    how = rng.choice(("blur", "drop")) if kind in ("amount", "question") else "blur"
    return write_summary(rng, post.facts, Plan(**{kind: how}))


def _padded(rng: random.Random, post: Post) -> str:
    plan = Plan(before=rng.random() < 0.5, after=rng.choice((1, 1, 2)))
    return write_summary(rng, post.facts, plan, post.sentences)


def _invented(rng: random.Random, post: Post) -> str:
    """Get one value wrong, sometimes in a summary that is otherwise a human one."""
    facts = swap_fact(rng, post.facts, rng.choice(GIST))
    return write_summary(rng, facts, human_plan(rng) if rng.random() < 0.5 else Plan(), post.sentences)


def _invented_aside(rng: random.Random, post: Post) -> str:
    """Keep the gist, but pad it with something that the post never said."""
    facts = post.facts
    for kind in SIDE:
        facts = swap_fact(rng, facts, kind)
    return write_summary(rng, facts, Plan(after=1), tuple(getattr(facts, kind) for kind in SIDE))


def _rambling(rng: random.Random, post: Post) -> str:
    asides = rng.sample(post.sentences, min(len(post.sentences), rng.randint(2, 4)))
    return " ".join([_human(rng, post), *asides])


def _repeated(rng: random.Random, post: Post) -> str:
    text = _human(rng, post)
    if rng.random() < 0.5:
        return f"{text} {text}"
    words = text.split()
    start = rng.randrange(max(1, len(words) - 4))
    run = words[start : start + rng.randint(2, 4)]
    return " ".join(words[:start] + run * rng.randint(2, 5) + words[start + len(run) :])


def _truncated(rng: random.Random, post: Post) -> str:
    words = _human(rng, post).split()
    return " ".join(words[: rng.randint(min(MIN_WORDS, len(words) - 1), len(words) - 1)]).rstrip(".,!?")


def _lead(rng: random.Random, post: Post) -> str:
    return " ".join(post.sentences[: rng.choice((1, 1, 2))])


def _copied(rng: random.Random, post: Post) -> str:
    """Copy the post's own sentences, as many as fit a policy's budget."""
    start = rng.randrange(len(post.sentences))
    return " ".join(" ".join(post.sentences[start:] + post.sentences[:start]).split()[: rng.randint(30, 45)])


def _title(rng: random.Random, post: Post) -> str:
    return post.title + rng.choice((".", ""))


def _other_post(rng: random.Random, post: Post) -> str:
    theme = post.facts.theme if rng.random() < 0.5 else None
    return _human(rng, write_post(rng, draw_facts(rng, theme)))


def _generic(rng: random.Random, post: Post) -> str:
    return rng.choice(GENERIC)


def _list(rng: random.Random, post: Post) -> str:
    """List facts without a sentence."""
    facts = [getattr(post.facts, kind) for kind in GIST + SIDE[: rng.randint(0, 2)]]
    rng.shuffle(facts)
    return sentence(rng.choice((" ", ", ")).join(facts) + rng.choice((".", "")))


def _scrambled(rng: random.Random, post: Post) -> str:
    words = _human(rng, post).split()
    if rng.random() < 0.5:
        rng.shuffle(words)
    else:
        for _ in range(rng.randint(1, 5)):
            words[rng.randrange(len(words))] = rng.choice(NONSENSE)
    return " ".join(words)


# name -> (writer, its share among passable writers, its share among all writers)
WRITERS: dict[str, tuple[Callable[[random.Random, Post], str], float, float]] = {
    "perfect": (_perfect, 3, 3),
    "human": (_human, 6, 4),
    "dropped": (_dropped, 4, 2),
    "padded": (_padded, 2, 1),
    "invented": (_invented, 1, 1.5),
    "invented aside": (_invented_aside, 0.5, 1),
    "rambling": (_rambling, 0, 1),
    "repeated": (_repeated, 0, 1),
    "truncated": (_truncated, 0.5, 1),
    "lead": (_lead, 0, 0.5),
    "copied": (_copied, 0, 1),
    "title": (_title, 0, 0.5),
    "other post": (_other_post, 0, 1),
    "generic": (_generic, 0, 0.5),
    "list": (_list, 0, 1),
    "scrambled": (_scrambled, 0, 1),
}


@dataclass(frozen=True)
class Pair:
    """One comparison: `a_wins` is the noisy label, drawn from the gold scores."""

    post: Post
    a: str
    b: str
    gold_a: float
    gold_b: float
    a_wins: bool

    @property
    def row(self) -> dict[str, str]:
        """Return the row in the published schema."""
        chosen, rejected = (self.a, self.b) if self.a_wins else (self.b, self.a)
        return {"prompt": self.post.body, "chosen": f"TL;DR: {chosen}", "rejected": f"TL;DR: {rejected}"}

    @property
    def gold_agrees(self) -> bool:
        """Whether the label follows the gold order; the mean over pairs is the ceiling of a reward model's accuracy."""
        return (self.gold_a > self.gold_b) == self.a_wins


def write_pair(rng: random.Random, post: Post, close: bool) -> Pair:
    """Write two different summaries of `post` and the reader's verdict; `close`: both from passable writers."""
    weights = [shares[1 if close else 2] for shares in WRITERS.values()]
    while True:
        writers = rng.choices([writer for writer, *_ in WRITERS.values()], weights, k=2)
        a, b = (writer(rng, post) for writer in writers)
        gold_a, gold_b = gold_score(post.prompt, a), gold_score(post.prompt, b)
        if min(len(a.split()), len(b.split())) >= MIN_WORDS and abs(gold_a - gold_b) >= MIN_GAP:
            a_wins = rng.random() < 1 / (1 + math.exp((gold_b - gold_a) / TAU))
            return Pair(post, a, b, gold_a, gold_b, a_wins)
