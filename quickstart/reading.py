"""Read posts and summaries as a careful reader would: who did what to whom, and what it costs, by their wording.

Exact, since the world is closed: a post is a row of sentences from `quickstart/templates.py`, and each value belongs to
one kind.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from quickstart.templates import EVENTS, QUESTIONS, STAKES
from quickstart.vocabulary import GIST, VALUES, VOICES

_KIND_OF = {value.lower(): kind for kind, values in VALUES.items() for value in values}
_ANY = {kind: "|".join(map(re.escape, values)) for kind, values in VALUES.items()} | {"amount": r"\$\d[\d,]*\d|\$\d"}
_VALUE = re.compile(r"\$\d[\d,]*\d|\$\d|\b(?:" + "|".join(v for v in _KIND_OF if v[0] != "$") + r")\b")
_WHO, _DEED, _THING = (_ANY[kind] for kind in ("who", "deed", "thing"))
_CLAIMS = {
    "other": re.compile(
        rf"\b(?:my (?P<who>{_WHO})|someone)(?: (?!my\b|i\b)\w+){{0,3}} (?P<deed>{_DEED})"
        rf" (?:my (?P<thing>{_THING})|something)\b",
        re.IGNORECASE,
    ),
    "self": re.compile(
        rf"\bI(?: \w+){{0,2}} (?P<deed>{_DEED}) (?:(?:my (?P<who>{_WHO})|someone)'s (?P<thing>{_THING})"
        rf"|(?:something|the (?P<thing2>{_THING}))(?: of| that belongs to) my (?P<who2>{_WHO}))\b",
        re.IGNORECASE,
    ),
}
_ASKED = re.compile(
    r"\b(?:should I|do I|would you|whether to|right to|wrong to|time to|if I should) "
    rf"(?P<question>{_ANY['question']})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reading:
    """What a text says: the event's voice and values, the sum, the question (None: not said); all values it names."""

    said: dict[str, str | None]  # "voice" and each kind of the gist -> its value, in lower case
    named: frozenset[tuple[str, str]]  # (kind, value) wherever they stand


@lru_cache(maxsize=20_000)
def find_values(text: str) -> tuple[tuple[str, str], ...]:
    """Find all (kind, value) of the closed vocabularies in `text`, in order, in lower case.

    Any sum of dollars is an amount, in the vocabulary or not.
    """
    return tuple((_KIND_OF.get(value, "amount"), value) for value in _VALUE.findall(text.lower()))


@cache
def _sentences() -> list[tuple[str | None, re.Pattern[str]]]:
    """The gist's sentences as patterns, with the voice of those that tell the event."""
    told = [(voice, template) for voice in VOICES for template in EVENTS[voice]]
    told += [(None, template) for template in (*STAKES, *QUESTIONS)]
    return [(voice, _pattern(template)) for voice, template in told]


def _pattern(template: str) -> re.Pattern[str]:
    slots = re.split(r"(\{\w+\})", template)
    parts = [f"(?P<{part[1:-1]}>{_ANY[part[1:-1]]})" if part[:1] == "{" else re.escape(part) for part in slots]
    return re.compile("".join(parts), re.IGNORECASE)


@lru_cache(maxsize=20_000)
def read_post(prompt: str) -> Reading:
    """Read a post, with or without "TL;DR:" behind it: its event, stake and question, not what is said in passing."""
    said: dict[str, str | None] = dict.fromkeys(("voice", *GIST))
    for voice, pattern in _sentences():
        if found := pattern.search(prompt):
            said |= {kind: value.lower() for kind, value in found.groupdict().items()}
            said["voice"] = voice or said["voice"]
    return Reading(said, frozenset(find_values(prompt)))


@lru_cache(maxsize=20_000)
def read_summary(summary: str) -> Reading:
    """Read a summary: people, deeds and things count as said in a clause that tells who did what to whom."""
    said: dict[str, str | None] = dict.fromkeys(("voice", *GIST))
    for voice, pattern in _CLAIMS.items():
        if found := pattern.search(summary):
            values = {kind.removesuffix("2"): value.lower() for kind, value in found.groupdict().items() if value}
            said |= values | {"voice": voice}
    if found := _ASKED.search(summary):
        said["question"] = found["question"].lower()
    amounts = [value for kind, value in find_values(summary) if kind == "amount"]
    said["amount"] = amounts[0] if amounts else None
    return Reading(said, frozenset(find_values(summary)))
