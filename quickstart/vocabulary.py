"""Vocabulary of the posts' small world: people, deeds, things, sums and questions, all of them crossed with all.

A post tells *gist* facts (who, deed, thing, amount, question) and *side* facts (place, day, hobby). All of them come
from the closed vocabularies below, so that `quickstart.reading` can find them again in any text. No value is commoner
beside another one, and none in a subreddit: nothing about a post can be guessed without reading it. Sentence templates
(`quickstart/templates.py`) use none of these words; a test holds them to it.
"""

GIST = ("who", "deed", "thing", "amount", "question")
SIDE = ("place", "day", "hobby")
VOICES = ("other", "self")  # my WHO DEED my THING; I DEED my WHO's THING


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SUBREDDITS = _split("relationships legaladvice personalfinance tifu AskReddit college travel jobs")
VALUES = {  # kind -> its closed vocabulary
    "who": _split(
        "dad mom brother sister uncle aunt cousin nephew grandpa stepdad boss landlord neighbor roommate boyfriend "
        "girlfriend husband wife ex coworker classmate mechanic professor tutor"
    ),
    "deed": _split("sold lost burned ruined borrowed scratched dented stained traded pawned soaked smashed"),
    "thing": _split(
        "guitar bike camera laptop tent piano couch drone kayak violin jacket truck telescope necklace painting "
        "journal phone boat scooter carpet suitcase watch vase lamp"
    ),
    "amount": tuple(f"${n}" for n in (*range(125, 1000, 25), *range(1100, 3000, 100))),
    "question": _split(
        "sue apologize complain wait move quit leave pay confess retaliate negotiate refuse settle resign"
    ),
    "place": _split(
        "Denver Ohio Toronto Boston Texas Seattle Dublin Portland Chicago Glasgow Vermont Austin Utah Leeds"
    ),
    "day": _split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "hobby": _split("pottery chess karate knitting yoga karaoke bowling salsa birdwatching sourdough"),
}
