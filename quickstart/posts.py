"""Write the posts and their summaries: a pure function of a `random.Random`, so a seed fixes every byte.

post = write_post(rng, draw_facts(rng)); label = write_label(rng, post)
"""

import random
from dataclasses import dataclass, field, replace

from quickstart.templates import (
    ASKED,
    BACKGROUND,
    BLURRED,
    CHATTER,
    COST,
    DISTRACTIONS,
    EVENTS,
    OPENERS,
    PAD_AFTER,
    PAD_BEFORE,
    QUESTIONS,
    STAKES,
    TITLES,
    TOLD,
)
from quickstart.vocabulary import GIST, SIDE, SUBREDDITS, VALUES, VOICES

MIN_WORDS = 45  # of a post's body
DISTRACTED = 0.5  # chance, for each fact of the gist, that another value of its kind is named in passing
# How often a person in a hurry takes the value named in passing for the fact, where there is one.
MISREAD = {"who": 0.15, "deed": 0.15, "thing": 0.15, "amount": 0.45, "question": 0.45}


@dataclass(frozen=True)
class Facts:
    """The facts of one post. Gist: voice, who, deed, thing, amount, question. Side: place, day, hobby."""

    voice: str  # of VOICES: who did it to whom
    who: str
    deed: str
    thing: str
    amount: str
    question: str
    place: str
    day: str
    hobby: str

    def fill(self, template: str, other: str = "") -> str:
        """Fill a template's slots with these facts."""
        return template.format(**{kind: getattr(self, kind) for kind in VALUES}, other=other)


@dataclass(frozen=True)
class Post:
    """A post as published: `prompt` ends with "TL;DR:"; `sentences` is its body, in order."""

    facts: Facts
    subreddit: str
    title: str
    sentences: tuple[str, ...]
    distractors: dict[str, str] = field(hash=False)  # gist kind -> the value named in passing, for some kinds

    @property
    def body(self) -> str:
        """Return everything before the final line, as in the comparisons' `prompt`."""
        return f"SUBREDDIT: r/{self.subreddit}\nTITLE: {self.title}\nPOST: {' '.join(self.sentences)}"

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


def draw_facts(rng: random.Random) -> Facts:
    """Draw the facts of a new post, each by itself."""
    return Facts(voice=rng.choice(VOICES), **{kind: rng.choice(values) for kind, values in VALUES.items()})


def another(rng: random.Random, kind: str, *known: str) -> str:
    """Draw a value of `kind` that is none of `known`."""
    return rng.choice([value for value in VALUES[kind] if value not in known])


def write_post(rng: random.Random, facts: Facts, distracted: float = DISTRACTED, idle: int = 3) -> Post:
    """Write a first-person post about `facts`: event, stake and question in this order, the rest around them.

    `distracted`: chance of a distractor for each fact of the gist; `idle`: most sentences beside the point.
    """
    distractors = {kind: another(rng, kind, getattr(facts, kind)) for kind in GIST if rng.random() < distracted}
    passing = [facts.fill(rng.choice(DISTRACTIONS[kind]), other) for kind, other in distractors.items()]
    aside = [facts.fill(rng.choice(BACKGROUND[kind])) for kind in rng.sample(SIDE, rng.randint(0, min(2, idle)))]
    aside += rng.sample(CHATTER, max(0, rng.randint(0, idle) - len(aside)))
    event, stake, question = (rng.choice(templates) for templates in (EVENTS[facts.voice], STAKES, QUESTIONS))
    texts = [facts.fill(event), facts.fill(stake)]
    for text in rng.sample(passing + aside, len(passing) + len(aside)):
        texts.insert(rng.randint(0, len(texts)), text)
    if idle and rng.random() < 0.5:
        texts.insert(0, rng.choice(OPENERS))
    texts.append(facts.fill(question))
    chatter = [text for text in CHATTER if text not in texts]
    while idle and sum(len(text.split()) for text in texts) < MIN_WORDS:
        texts.insert(rng.randrange(1, len(texts)), chatter.pop(rng.randrange(len(chatter))))
    return Post(facts, rng.choice(SUBREDDITS), rng.choice(TITLES), tuple(map(sentence, texts)), distractors)


def human_plan(rng: random.Random) -> Plan:
    """Draw how a person in a hurry summarises: most drop or blur something, and some add something superfluous."""

    def pick(keep: float, blur: float) -> str:
        draw = rng.random()
        return "keep" if draw < keep else "blur" if draw < keep + blur else "drop"

    around = rng.choice(("nothing", "nothing", "before", "after"))
    blurred = rng.choice(("", "", "", "who", "thing"))
    return Plan(
        who="blur" if blurred == "who" else "keep",
        thing="blur" if blurred == "thing" else "keep",
        amount=pick(0.60, 0.20),
        question=pick(0.65, 0.20),
        before=around == "before",
        after=int(around == "after"),
    )


def misread(rng: random.Random, post: Post) -> Facts:
    """Read the post in a hurry: some of the values named in passing are taken for the fact."""
    taken = {kind: value for kind, value in post.distractors.items() if rng.random() < MISREAD[kind]}
    return replace(post.facts, **taken)


def write_summary(rng: random.Random, facts: Facts, plan: Plan = Plan(), told_in: str = "") -> str:
    """Write one summary of `facts` by `plan`; the default plan keeps all of the gist and adds nothing.

    `told_in`: the post's text; side facts are only added if the post tells them.
    """
    clause = rng.choice(TOLD[facts.voice])
    for kind in ("thing", "who"):
        if getattr(plan, kind) != "keep":
            clause = clause.replace(*BLURRED[facts.voice][kind])
    if plan.before:
        clause = rng.choice(PAD_BEFORE) + clause
    text = clause + rng.choice(COST[plan.amount]) + rng.choice(ASKED[plan.question])
    kinds = [kind for kind in SIDE if getattr(facts, kind) in told_in] + [""]
    for kind in rng.sample(kinds, min(plan.after, len(kinds))):
        text += " " + rng.choice(PAD_AFTER[kind])
    return sentence(facts.fill(text))


def write_label(rng: random.Random, post: Post) -> str:
    """Write the summary of a person in a hurry."""
    return write_summary(rng, misread(rng, post), human_plan(rng), post.body)


def swap_fact(rng: random.Random, post: Post, kind: str) -> Facts:
    """Get one fact wrong: the value named in passing where there is one, mostly, else any other; or "role"."""
    facts = post.facts
    if kind == "role":
        return replace(facts, voice=next(voice for voice in VOICES if voice != facts.voice))
    if kind in post.distractors and rng.random() < 0.7:
        return replace(facts, **{kind: post.distractors[kind]})
    return replace(facts, **{kind: another(rng, kind, getattr(facts, kind))})
