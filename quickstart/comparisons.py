"""Write pairs of summaries, labelled by a noisy reader: P(a over b) = sigmoid((gold_a - gold_b) / TAU), Bradley-Terry.

Most pairs can only be told apart by reading the post: the same sentence with one fact right and wrong, two hurried
readings, a fact left out against a fact got wrong. The rest sets a passable summary against a failure that a policy can
drift into while it is optimised against a reward model, so that the reward model has seen it.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from quickstart.gold import gold_score
from quickstart.posts import (
    Plan,
    Post,
    draw_facts,
    human_plan,
    sentence,
    swap_fact,
    write_label,
    write_post,
    write_summary,
)
from quickstart.templates import GENERIC
from quickstart.vocabulary import GIST, SIDE

TAU = 0.45  # noise of the reader, in units of the gold score
MIN_GAP = 0.3  # pairs closer than this in gold are uninformative and left out
MIN_WORDS = 5  # the published code drops pairs with a shorter summary
KINDS = (*GIST, "role")  # of a fact that can be wrong; role: who did it to whom
NONSENSE = ("asdf", "lorem", "qwx", "ipsum", "blorp", "zzz", "teh", "wug", "fnord", "hrm")
WHOLE = Plan()  # keeps all of the gist and adds nothing
Texts = tuple[str, str]


def _passable(rng: random.Random, post: Post) -> str:
    return write_summary(rng, post.facts, human_plan(rng), post.body)


# ---------------------------------------------------------------- pairs that only a reader of the post can judge
def minimal_pair(rng: random.Random, post: Post, kind: str, plan: Plan = WHOLE) -> Texts:
    """Write the same sentences twice, word for word but for the fact `kind`: right, then wrong."""
    wording = rng.getrandbits(32)
    plan = replace(plan, **{kind: "keep"}) if kind in ("who", "thing", "amount", "question") else plan
    if kind == "role":
        plan = replace(plan, who="keep", thing="keep")
    right, wrong = (
        write_summary(random.Random(wording), facts, plan, post.body)
        for facts in (post.facts, swap_fact(rng, post, kind))
    )
    return right, wrong


def _one_fact(rng: random.Random, post: Post) -> Texts:
    plan = Plan() if rng.random() < 0.5 else human_plan(rng)
    return minimal_pair(rng, post, rng.choice(KINDS), plan)


def _two_readings(rng: random.Random, post: Post) -> Texts:
    return write_label(rng, post), write_label(rng, post)


def _left_out(rng: random.Random, post: Post) -> Texts:
    """Leave a fact out, against saying it: rightly in half of the pairs, wrongly in the others."""
    kind = rng.choice(("who", "thing", "amount", "question"))
    how = "blur" if kind in ("who", "thing") else rng.choice(("blur", "drop"))
    without = write_summary(rng, post.facts, Plan(**{kind: how}))
    facts = post.facts if rng.random() < 0.5 else swap_fact(rng, post, kind)
    return write_summary(rng, facts), without


# ---------------------------------------------------------------- failures of a policy
def _repeated(rng: random.Random, post: Post, text: str) -> str:
    words = text.split()
    start = rng.randrange(max(1, len(words) - 4))
    run = words[start : start + rng.randint(2, 4)]
    return " ".join(words[:start] + run * rng.randint(2, 5) + words[start + len(run) :])


def _truncated(rng: random.Random, post: Post, text: str) -> str:
    words = text.split()
    return " ".join(words[: rng.randint(min(MIN_WORDS, len(words) - 1), len(words) - 1)]).rstrip(".,!?")


def _copied(rng: random.Random, post: Post, text: str) -> str:
    """Copy the post's own sentences, as many as fit a policy's budget."""
    start = rng.randrange(len(post.sentences))
    return " ".join(" ".join(post.sentences[start:] + post.sentences[:start]).split()[: rng.randint(10, 45)])


def _rambling(rng: random.Random, post: Post, text: str) -> str:
    return " ".join([text, *rng.sample(post.sentences, rng.randint(2, 3))])


def _list(rng: random.Random, post: Post, text: str) -> str:
    """List facts without a sentence."""
    facts = [getattr(post.facts, kind) for kind in GIST + SIDE[: rng.randint(0, 2)]]
    rng.shuffle(facts)
    return sentence(rng.choice((" ", ", ")).join(facts) + rng.choice((".", "")))


def _scrambled(rng: random.Random, post: Post, text: str) -> str:
    words = text.split()
    if rng.random() < 0.5:
        rng.shuffle(words)
    else:
        for _ in range(rng.randint(1, 5)):
            words[rng.randrange(len(words))] = rng.choice(NONSENSE)
    return " ".join(words)


def _many_facts(rng: random.Random, post: Post, text: str) -> str:
    """Name a second value of a kind as well, right or wrong, in the hope that one of them counts."""
    kind = rng.choice(("amount", "question"))
    other = getattr(swap_fact(rng, post, kind), kind)
    return f"{text} {f'Should I {other}?' if kind == 'question' else f'{other} in all.'}"


FAILURES: dict[str, Callable[[random.Random, Post, str], str]] = {  # of a passable summary
    "repeated": _repeated,
    "twice": lambda rng, post, text: f"{text} {text}",
    "truncated": _truncated,
    "copied": _copied,
    "rambling": _rambling,
    "other post": lambda rng, post, text: _passable(rng, write_post(rng, draw_facts(rng))),
    "list": _list,
    "scrambled": _scrambled,
    "many facts": _many_facts,
    "title": lambda rng, post, text: post.title + rng.choice((".", "")),
    "generic": lambda rng, post, text: rng.choice(GENERIC),
}


def _failure(rng: random.Random, post: Post) -> Texts:
    text = _passable(rng, post)
    return text, FAILURES[rng.choice(list(FAILURES))](rng, post, text)


SHARES: dict[Callable[[random.Random, Post], Texts], float] = {
    _one_fact: 0.36,
    _two_readings: 0.20,
    _left_out: 0.28,
    _failure: 0.16,
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


def write_pair(rng: random.Random, post: Post) -> Pair:
    """Write two different summaries of `post` and the reader's verdict."""
    while True:
        (write,) = rng.choices(list(SHARES), list(SHARES.values()))
        a, b = write(rng, post)
        gold_a, gold_b = gold_score(post.prompt, a), gold_score(post.prompt, b)
        if min(len(a.split()), len(b.split())) >= MIN_WORDS and abs(gold_a - gold_b) >= MIN_GAP:
            a_wins = rng.random() < 1 / (1 + math.exp((gold_b - gold_a) / TAU))
            return Pair(post, a, b, gold_a, gold_b, a_wins)
