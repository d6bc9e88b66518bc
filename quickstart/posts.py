"""Write the posts and their summaries: a pure function of a `random.Random`, so a seed fixes every byte.

facts = draw_facts(rng); post = write_post(rng, facts); label = write_summary(rng, facts, human_plan(rng))
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from quickstart.templates import (
    ASKED,
    BACKGROUND,
    BLURRED,
    CHATTER,
    COST,
    DEADLINES,
    EVENTS,
    OPENERS,
    PAD_AFTER,
    PAD_BEFORE,
    QUESTIONS,
    STAKES,
    TITLES,
    TOLD,
)
from quickstart.vocabulary import (
    AMOUNTS,
    DAYS,
    GENDER,
    HOBBIES,
    PLACES,
    PRONOUNS,
    SPANS,
    THEMES,
    VALUES,
    Theme,
)

MIN_WORDS, MAX_WORDS = 60, 150  # of a post's body


@dataclass(frozen=True)
class Facts:
    """The facts of one post. Gist: who, deed, thing, amount, question. Side: place, span, day, hobby."""

    theme: Theme
    who: str
    deed: str
    thing: str
    amount: str
    question: str
    place: str
    span: str
    day: str
    hobby: str
    gender: str  # key of PRONOUNS, for `who`

    def fill(self, template: str) -> str:
        """Fill a template's slots with this post's facts and pronouns."""
        they, them, their = PRONOUNS[self.gender]
        slots = {kind: getattr(self, kind) for kind in VALUES}
        return template.format(**slots, they=they, them=them, their=their)


@dataclass(frozen=True)
class Post:
    """A post as published: `prompt` ends with "TL;DR:"; `sentences` is its body, in order."""

    facts: Facts
    title: str
    sentences: tuple[str, ...]

    @property
    def body(self) -> str:
        """Return everything before the final line, as in the comparisons' `prompt`."""
        text = " ".join(self.sentences)
        return f"SUBREDDIT: r/{self.facts.theme.subreddit}\nTITLE: {self.title}\nPOST: {text}"

    @property
    def prompt(self) -> str:
        """Return the `prompt` of a TL;DR row."""
        return f"{self.body}\nTL;DR:"


@dataclass(frozen=True)
class Plan:
    """How a writer treats each fact ("keep", "blur" or "drop"), and how much padding surrounds them."""

    who: str = "keep"
    thing: str = "keep"
    amount: str = "keep"
    question: str = "keep"
    before: bool = False  # an opening that says nothing
    after: int = 0  # sentences beside the point at the end


def sentence(text: str) -> str:
    """Capitalise the first letter of `text`."""
    return text[0].upper() + text[1:]


def draw_facts(rng: random.Random, theme: Theme | None = None) -> Facts:
    """Draw the facts of a new post; deed and thing always match."""
    theme = theme or rng.choice(THEMES)
    who, deed = rng.choice(theme.who), rng.choice(list(theme.deeds))
    return Facts(
        theme=theme,
        who=who,
        deed=deed,
        thing=rng.choice(theme.deeds[deed]),
        amount=rng.choice(AMOUNTS),
        question=rng.choice(theme.questions),
        place=rng.choice(PLACES),
        span=rng.choice(SPANS),
        day=rng.choice(DAYS),
        hobby=rng.choice(HOBBIES),
        gender=GENDER.get(who) or rng.choice(("he", "she", "they", "they")),
    )


def write_post(rng: random.Random, facts: Facts) -> Post:
    """Write a first-person post about `facts`, in this order: digressions, event, stake, chatter, question."""
    voice = facts.theme.voice
    chatter = rng.sample(CHATTER, 5)
    before = [rng.choice(OPENERS)] if rng.random() < 0.7 else []
    for kind in rng.sample(sorted(BACKGROUND), rng.choice((1, 2, 2, 3))):
        before.append(rng.choice(BACKGROUND[kind]))
    told = [rng.choice(EVENTS[voice]), rng.choice(STAKES[voice])]
    if rng.random() < 0.35:
        told.insert(1, chatter.pop())
    after = [chatter.pop() for _ in range(rng.choice((0, 1, 1, 2)))]
    if rng.random() < 0.6:
        after.insert(rng.randint(0, len(after)), rng.choice(DEADLINES))
    if rng.random() < 0.15:  # some people come to the point at once
        before, after = before[:1], before[1:] + after
        before, told = told[:1], before + told[1:]
    sentences = [sentence(facts.fill(t)) for t in (*before, *told, *after, rng.choice(QUESTIONS))]
    while sum(len(s.split()) for s in sentences) < MIN_WORDS + 3:
        extra = chatter.pop() if chatter else rng.choice([c for c in CHATTER if c not in sentences])
        sentences.insert(len(sentences) - 1, extra)
    return Post(facts, sentence(facts.fill(rng.choice(TITLES))), tuple(sentences))


def human_plan(rng: random.Random) -> Plan:
    """Draw how a person summarises: most drop or blur something, and half of them add something superfluous."""

    def pick(keep: float, blur: float) -> str:
        draw = rng.random()
        return "keep" if draw < keep else "blur" if draw < keep + blur else "drop"

    around = rng.choice(("nothing", "nothing", "before", "after", "after"))
    return Plan(
        who=pick(0.75, 0.25),
        thing=pick(0.80, 0.20),
        amount=pick(0.45, 0.25),
        question=pick(0.55, 0.25),
        before=around == "before",
        after=int(around == "after"),
    )


def write_summary(rng: random.Random, facts: Facts, plan: Plan = Plan(), told_in: Sequence[str] = ()) -> str:
    """Write one summary of `facts` by `plan`; the default plan keeps all of the gist and adds nothing.

    `told_in`: the post's sentences; side facts are only added if the post tells them.
    """
    voice = facts.theme.voice
    clause = rng.choice(TOLD[voice])
    if plan.who != "keep":
        someone = rng.choice(BLURRED["who"])
        clause = clause.replace("my {who}", someone)
    if plan.thing != "keep":
        something = rng.choice(BLURRED["thing"][voice])
        clause = clause.replace("the {thing}" if voice == "self" else "my {thing}", something)
    if plan.before:
        clause = rng.choice(PAD_BEFORE) + clause
    text = clause + rng.choice(COST[plan.amount]) + rng.choice(ASKED[plan.question])
    body = " ".join(told_in)
    kinds = [kind for kind in PAD_AFTER if kind and getattr(facts, kind) in body] + [""]
    for kind in rng.sample(kinds, min(plan.after, len(kinds))):
        text += " " + rng.choice(PAD_AFTER[kind])
    return sentence(facts.fill(text))


def swap_fact(rng: random.Random, facts: Facts, kind: str) -> Facts:
    """Replace the value of `kind` in `facts` by a wrong one, mostly from the same subreddit (so it is plausible)."""
    near = {
        "who": facts.theme.who,
        "thing": tuple(thing for things in facts.theme.deeds.values() for thing in things),
        "deed": tuple(facts.theme.deeds),
        "question": facts.theme.questions,
    }.get(kind, VALUES[kind])
    pool = near if rng.random() < 0.7 else VALUES[kind]
    return replace(facts, **{kind: rng.choice([value for value in pool if value != getattr(facts, kind)])})
