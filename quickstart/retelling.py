"""Write the small model's pretraining text: posts, each followed by other people's answers that retell its facts.

No text here has the "TL;DR:" form or a summary's sentences: here the model learns to read a post, in stage 1 to
summarise it.
"""

import random

from quickstart.posts import Facts, Post, sentence

ASKED_BACK = {
    "who": ("Who is it about?", "Who are we talking about?", "Who else is in this story?"),
    "deed": ("What was done?", "What was done, in one word?"),
    "thing": ("What was it done to?", "Which thing is meant?", "What is the story about?"),
    "amount": ("How much is it about?", "How much money is it?", "What does it come to?"),
    "question": ("What is being asked?", "What is the plan?", "What might be next?"),
    "place": ("Where was it?", "Which place is named?"),
    "span": ("How long was it?", "What length of time is named?"),
    "day": ("Until when?", "Which day is named?"),
    "hobby": ("What else is going on?", "What fills the evenings?"),
}
REPLIES = {
    "other": (
        "So your {who} {deed} your {thing}, and {amount} is at stake. I would {question} if I were you.",
        "Your {thing}, {amount}, and your {who} just {deed} it? Nobody would blame you if you {question}.",
        "If someone {deed} my {thing} I would be mad too. For {amount} I would {question}, whatever your {who} says.",
        "You want to {question} because your {who} {deed} your {thing}? With {amount} on the line I get it.",
        "Before you {question}, ask your {who} for the {amount}. {they} {deed} the {thing}, after all.",
        "Think of the {amount}. People who {deed} a {thing} once will do it again, so {question}, "
        "and tell your {who} why.",
    ),
    "self": (
        "So you {deed} the {thing} and your {who} may want {amount} from you. I would {question} if I were you.",
        "A {thing} for {amount}, and you {deed} it? Poor {who}. Nobody would blame you if you {question}.",
        "If someone {deed} my {thing} I would be mad. Your {who} will want the {amount}, so {question}.",
        "You want to {question} because you {deed} a {thing}? With {amount} on the line your {who} may not laugh.",
        "Before you {question}, offer your {who} the {amount}. You {deed} the {thing}, after all.",
        "Think of the {amount}. Whoever {deed} a {thing} once can do better, so {question}, and tell your {who} why.",
    ),
}


def _quiz(rng: random.Random, facts: Facts, told: list[str]) -> str:
    kinds = rng.sample(told, rng.randint(3, min(6, len(told))))
    return " ".join(f"{rng.choice(ASKED_BACK[kind])} {sentence(getattr(facts, kind))}." for kind in kinds)


def _record(rng: random.Random, facts: Facts, told: list[str]) -> str:
    kinds = rng.sample(told, rng.randint(3, min(6, len(told))))
    return ", ".join(f"{kind} {getattr(facts, kind)}" for kind in kinds)


def write_thread(rng: random.Random, post: Post) -> str:
    """Write the post and one or two answers below it, each of another kind."""
    facts, body = post.facts, post.body
    told = [kind for kind in ASKED_BACK if getattr(facts, kind) in body]
    answers = [
        "REPLY: " + sentence(facts.fill(rng.choice(REPLIES[facts.theme.voice]))),
        "QUIZ: " + _quiz(rng, facts, told),
        "NOTES: " + _record(rng, facts, told),
    ]
    return "\n".join([body, *rng.sample(answers, rng.choice((1, 2, 2)))])
