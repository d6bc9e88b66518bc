"""Write the small model's pretraining text: lists and posts, each followed by answers about what stands there.

No text here has the "TL;DR:" form or a summary's sentences: here the model learns to read (to find the fact that is
asked for, to judge what is claimed), in stage 1 to summarise. Each text is a row of (piece, weight in the loss) pairs;
facts and verdicts, the words that cannot be known without reading, weigh more.
"""

import random

from quickstart.posts import Facts, Post, another, swap_fact
from quickstart.vocabulary import GIST, SIDE, VALUES

TEXT, ANSWER, READ = 0.3, 0.5, 4.0  # weights in the loss: of a post, of the words of an answer, of what must be read
YES, NO = " yes", " no"
RETOLD = {  # to the one who posted, in other words than a summary's
    "other": ("your {who} {deed} your {thing}", "it was your {who} who {deed} your {thing}"),
    "self": ("you {deed} the {thing} of your {who}", "it was you who {deed} the {thing} of your {who}"),
}
RETOLD_TOO = {
    "amount": (", and {amount} is at stake", ", for {amount}"),
    "question": (", and you think to {question}", ", so would you {question}"),
}
Pieces = list[tuple[str, float]]


def _verdict(true: bool) -> tuple[str, float]:
    return (YES if true else NO, READ)


def write_list(rng: random.Random) -> Pieces:
    """Write one value each of some kinds in a row, and ask for them below it: look-ups, single facts."""
    told = {kind: rng.choice(VALUES[kind]) for kind in rng.sample([*GIST, *SIDE], rng.randint(3, 8))}
    claims = []
    for _ in range(rng.randint(6, 9)):
        kind, true = rng.choice(list(told)), rng.random() < 0.5
        claims.append((told[kind] if true else another(rng, kind, told[kind]), true))
    answers = [_notes(rng, told), _check(claims)]
    text = ("LIST:" + ",".join(f" {value}" for value in told.values()), TEXT)
    return [text, *(piece for answer in rng.sample(answers, 2) for piece in answer)]


def _notes(rng: random.Random, told: dict[str, str]) -> Pieces:
    """Look up: the kind of each fact, then its value."""
    pieces: Pieces = [("\nNOTES:", ANSWER)]
    for n, kind in enumerate(rng.sample(list(told), len(told))):
        start, value = f"{',' if n else ''} {kind}", told[kind]
        if value[0] == "$":
            pieces += [(f"{start} $", ANSWER), (value[1:], READ)]
        else:
            pieces += [(start, ANSWER), (f" {value}", READ)]
    return pieces


def _check(claims: list[tuple[str, bool]]) -> Pieces:
    """Judge single values: those claimed, and whether each is true."""
    pieces: Pieces = [("\nCHECK:", ANSWER)]
    for n, (value, true) in enumerate(claims):
        pieces += [(f"{',' if n else ''} {value}", 0.0), _verdict(true)]
    return pieces


def _facts_claimed(rng: random.Random, post: Post) -> list[tuple[str, bool]]:
    """Claim facts of a post: half of them wrong, most of these named in passing where there is such a value."""
    claims = []
    for _ in range(rng.randint(6, 9)):
        kind, true = rng.choice(GIST), rng.random() < 0.5
        claims.append((getattr(post.facts if true else swap_fact(rng, post, kind), kind), true))
    return claims


def _claims(rng: random.Random, post: Post) -> Pieces:
    """Judge sentences: half of them have one fact wrong, which may be who did it to whom."""
    pieces: Pieces = []
    for _ in range(rng.randint(2, 3)):
        said = rng.sample(sorted(RETOLD_TOO), rng.randint(0, 2))
        wrong = rng.choice(["who", "deed", "thing", "role", *said]) if rng.random() < 0.5 else None
        facts = swap_fact(rng, post, wrong) if wrong else post.facts
        pieces += [(f"\nCLAIM: {facts.fill(_retold(rng, facts, said))}.", 0.0), _verdict(wrong is None)]
    return pieces


def _retold(rng: random.Random, facts: Facts, said: list[str]) -> str:
    return rng.choice(RETOLD[facts.voice]) + "".join(rng.choice(RETOLD_TOO[kind]) for kind in said)


def _reply(rng: random.Random, facts: Facts) -> Pieces:
    """Retell the post as it is, once or twice."""
    pieces: Pieces = []
    for _ in range(rng.randint(1, 2)):
        text = _retold(rng, facts, rng.sample(sorted(RETOLD_TOO), rng.randint(1, 2)))
        pieces.append(("\nREPLY:", ANSWER))
        for word in text.split():
            value = facts.fill(word)
            if word == "{amount}":
                pieces += [(" $", ANSWER), (value[1:], READ)]
            else:
                pieces.append((f" {value}", READ if word[0] == "{" else ANSWER))
        pieces.append((".", ANSWER))
    return pieces


def write_thread(rng: random.Random, post: Post) -> Pieces:
    """Write the post and what is asked below it: look-ups, single facts, claims; and a reply that retells it."""
    kinds = [*GIST, *(kind for kind in SIDE if getattr(post.facts, kind) in post.body)]
    told = {kind: getattr(post.facts, kind) for kind in kinds}
    told["by"] = "you" if post.facts.voice == "self" else post.facts.who
    answers = [_notes(rng, told), _check(_facts_claimed(rng, post)), _claims(rng, post)]
    answers.append(_reply(rng, post.facts))
    return [(post.body, TEXT), *(piece for answer in rng.sample(answers, 4) for piece in answer)]
