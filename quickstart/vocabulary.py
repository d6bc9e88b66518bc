"""Vocabulary of the posts' small world: subreddits with their people, mishaps, things, sums and questions.

A post tells *gist* facts (who, deed, thing, amount, question) and *side* facts (place, span, day, hobby). All of them
come from the closed vocabularies below, so that `quickstart.gold` can find them again in any text. Sentence templates
(`quickstart/templates.py`) use none of these words; a test holds them to it.
"""

from dataclasses import dataclass

GIST = ("who", "deed", "thing", "amount", "question")
SIDE = ("place", "span", "day", "hobby")


@dataclass(frozen=True)
class Theme:
    """One subreddit. `voice` says who did it: "other" (my WHO DEED my THING) or "self" (I DEED the THING of my WHO)."""

    subreddit: str
    voice: str
    who: tuple[str, ...]
    deeds: dict[str, tuple[str, ...]]  # what was done -> the things it can have been done to
    questions: tuple[str, ...]  # bare infinitives: "Should I ...?"


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


THEMES = (
    Theme(
        "relationships",
        "other",
        _split("girlfriend, boyfriend, husband, wife, fiance, ex"),
        {
            "sold": _split("guitar, record collection, camera, mountain bike, game console, necklace"),
            "pawned": _split("ring, watch, necklace, guitar, camera, bracelet"),
            "ruined": _split("wedding dress, leather jacket, painting, journal, record collection"),
            "donated": _split("comic books, leather jacket, sewing machine, record collection, winter coat"),
            "wrecked": _split("mountain bike, game console, piano, telescope"),
        },
        _split(
            "break up, see a counselor, call off the wedding, "
            "forgive and forget, ask for half of it, sleep on the couch"
        ),
    ),
    Theme(
        "legaladvice",
        "other",
        _split("landlord, neighbor, contractor, mechanic, property manager, mover"),
        {
            "damaged": _split("fence, shed, truck, garage, driveway, roof, greenhouse"),
            "flooded": _split("basement, garage, garden, kitchen, workshop"),
            "towed": _split("truck, van, motorcycle, trailer, camper"),
            "withheld": _split("deposit, keys, tools, refund"),
            "demolished": _split("fence, shed, greenhouse, treehouse, mailbox"),
        },
        _split(
            "go to small claims court, hire a lawyer, send a certified letter, "
            "call the city, break the lease, press charges"
        ),
    ),
    Theme(
        "jobs",
        "other",
        _split("boss, manager, supervisor, coworker, recruiter, client"),
        {
            "withheld": _split("paycheck, bonus, commission, overtime pay"),
            "cancelled": _split("contract, raise, promotion, paid leave, health plan"),
            "delayed": _split("promotion, raise, start date, bonus, transfer"),
            "misplaced": _split("paperwork, portfolio, timesheets, resume"),
            "rejected": _split("proposal, expense report, vacation request, transfer"),
        },
        _split(
            "quit without notice, go to human resources, file a complaint, "
            "look for a new job, get it in writing, join the union"
        ),
    ),
    Theme(
        "pets",
        "other",
        _split("vet, groomer, pet sitter, breeder, dog walker, foster family"),
        {
            "injured": _split("parrot, rabbit, hamster, kitten, puppy, ferret"),
            "shaved": _split("poodle, rabbit, kitten, sheepdog, alpaca"),
            "overfed": _split("goldfish, hamster, puppy, tortoise, ferret"),
            "misplaced": _split("tortoise, kitten, parrot, gecko, ferret"),
            "sold": _split("puppy, kitten, aquarium, poodle, tortoise"),
        },
        _split(
            "find another clinic, demand a refund, leave a bad review, "
            "get a second opinion, put up posters, switch to raw food"
        ),
    ),
    Theme(
        "personalfinance",
        "other",
        _split("dad, mom, brother, sister, uncle, accountant"),
        {
            "emptied": _split("savings account, college fund, checking account, piggy bank"),
            "borrowed": _split("inheritance, emergency fund, tax refund, college fund"),
            "froze": _split("savings account, credit card, debit card, trust fund"),
            "maxed out": _split("credit card, store card, gas card"),
            "gambled away": _split("inheritance, tax refund, emergency fund, retirement fund"),
        },
        _split(
            "open a separate account, take out a loan, set up a payment plan, "
            "file a police report, dispute the debt, get a side gig"
        ),
    ),
    Theme(
        "tifu",
        "self",
        _split("roommate, best friend, aunt, grandpa, blind date, stepdad"),
        {
            "smashed": _split("laptop, vase, windshield, aquarium, chandelier, phone"),
            "burned": _split("carpet, curtains, couch, birthday cake, tent"),
            "crashed": _split("drone, scooter, golf cart, boat, van"),
            "deleted": _split("vacation photos, thesis, playlist, wedding video"),
            "flooded": _split("bathroom, kitchen, basement, laundry room"),
        },
        _split(
            "own up to it, buy a replacement, blame the weather, "
            "write an apology, pretend nothing happened, pay in installments"
        ),
    ),
    Theme(
        "AskReddit",
        "other",
        _split("cousin, classmate, teammate, bandmate, godfather, housemate"),
        {
            "borrowed": _split("tent, kayak, suit, camera, drum kit, snowboard"),
            "scratched": _split("sunglasses, record collection, skateboard, tablet, violin"),
            "traded": _split("concert tickets, baseball cards, comic books, snowboard"),
            "smashed": _split("drum kit, violin, telescope, tablet, surfboard"),
            "auctioned off": _split("baseball cards, concert tickets, stamp album, surfboard"),
        },
        _split(
            "end the friendship, let it slide, tell everyone, "
            "borrow something in return, send an invoice, make a joke of it"
        ),
    ),
    Theme(
        "college",
        "other",
        _split("professor, adviser, lab partner, tutor, librarian, teaching assistant"),
        {
            "rejected": _split("application, essay, proposal, thesis, scholarship"),
            "misplaced": _split("exam, lab notebook, transcript, essay, portfolio"),
            "cancelled": _split("scholarship, internship, field trip, meal plan, grant"),
            "plagiarized": _split("essay, slides, code, thesis, lab notebook"),
            "deleted": _split("transcript, code, application, data set"),
        },
        _split(
            "appeal to the dean, drop the class, transfer to another school, "
            "switch majors, retake the course, take a gap year"
        ),
    ),
    Theme(
        "travel",
        "other",
        _split("travel agent, tour guide, host, taxi driver, hotel clerk, ferry captain"),
        {
            "misplaced": _split("suitcase, passport, backpack, stroller, surfboard"),
            "cancelled": _split("flight, booking, cruise, safari, rental car"),
            "swapped": _split("room, booking, suitcase, rental car, seat"),
            "auctioned off": _split("seat, cabin, booking, suitcase"),
            "delayed": _split("flight, ferry ride, cruise, refund"),
        },
        _split(
            "dispute the charge, call the embassy, fly home early, "
            "post a warning, claim the insurance, book another trip"
        ),
    ),
    Theme(
        "weddingplanning",
        "self",
        _split("bridesmaid, mother in law, florist, caterer, photographer, maid of honor"),
        {
            "ruined": _split("bouquet, wedding dress, centerpieces, seating chart, veil"),
            "cancelled": _split("booking, tasting, contract, limousine"),
            "misplaced": _split("deposit, guest list, veil, rings, invitations"),
            "stained": _split("tablecloth, wedding dress, veil, gown"),
            "traded": _split("invitations, time slot, table, limousine"),
        },
        _split(
            "elope in secret, pick a new venue, trim the guests, hire a planner, confess at dinner, postpone everything"
        ),
    ),
)

AMOUNTS = tuple(
    f"${n:,}"
    for n in (
        *range(85, 300, 15), *range(310, 1000, 35), *range(1_050, 2_000, 75), *range(2_100, 5_000, 150),
    )
)  # fmt: skip
PLACES = _split(
    "Denver, Ohio, Toronto, Boston, Texas, Seattle, Dublin, Portland, Chicago, Florida, Glasgow, Vermont, Austin, "
    "Montreal, Atlanta, Utah, Leeds, Phoenix, Nashville, Maine, Detroit, Oregon, Sydney, Tampa, Kansas, Cork"
)
SPANS = tuple(
    f"{n} {unit}"
    for unit in ("weeks", "months", "years")
    for n in ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
)
DAYS = _split(
    "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday, Christmas, Easter, Halloween, Thanksgiving, "
    "New Year, my birthday, the end of June, the end of May, the end of March"
)
HOBBIES = _split(
    "pottery class, marathon training, choir practice, chess club, night shift, "
    "sourdough, podcast, knitting, yoga class, "
    "book club, allotment, birdwatching, karaoke night, model trains, "
    "crossword habit, bowling league, salsa lessons, "
    "woodworking, beekeeping, improv group"
)

# he, him, his; people not named here are "they" in half of the posts and he or she in the others
PRONOUNS = {"he": ("he", "him", "his"), "she": ("she", "her", "her"), "they": ("they", "them", "their")}
GENDER = {
    **dict.fromkeys(("boyfriend", "husband", "dad", "brother", "uncle", "grandpa", "stepdad", "godfather"), "he"),
    **dict.fromkeys(
        ("girlfriend", "wife", "mom", "sister", "aunt", "bridesmaid", "mother in law", "maid of honor"), "she"
    ),
    "foster family": "they",
}


def _values() -> dict[str, tuple[str, ...]]:
    return {
        "who": tuple(sorted({who for theme in THEMES for who in theme.who})),
        "deed": tuple(sorted({deed for theme in THEMES for deed in theme.deeds})),
        "thing": tuple(sorted({thing for theme in THEMES for things in theme.deeds.values() for thing in things})),
        "amount": AMOUNTS,
        "question": tuple(sorted({question for theme in THEMES for question in theme.questions})),
        "place": PLACES,
        "span": SPANS,
        "day": DAYS,
        "hobby": HOBBIES,
    }


VALUES = _values()  # kind -> its closed vocabulary
