"""The posts tell their own facts, and the gold score, which finds them again, is hard to fool."""

import random
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from quickstart import templates
from quickstart.gold import FLOOR, gold_parts, gold_score, invented
from quickstart.posts import (
    DISTRACTED,
    MISREAD,
    Plan,
    Post,
    draw_facts,
    misread,
    swap_fact,
    write_label,
    write_post,
    write_summary,
)
from quickstart.reading import find_values, read_post, read_summary
from quickstart.vocabulary import GIST, SIDE, VALUES, VOICES
from summarize_rlhf.rouge import rouge


@pytest.fixture(scope="module")
def posts() -> list[Post]:
    rng = random.Random("tests")
    return [write_post(rng, draw_facts(rng)) for _ in range(400)]


def mean_gold(posts: list[Post], write: Callable[[Post], str]) -> float:
    """Score one written summary of each post, and average."""
    return statistics.mean(gold_score(post.prompt, write(post)) for post in posts)


# ------------------------------------------------------------------------------------------------- the posts
def test_a_post_reads_as_its_facts_say(posts):
    for post in posts:
        said = read_post(post.prompt).said
        assert said == {name: getattr(post.facts, name).lower() for name in ("voice", *GIST)}
        gist = {(kind, getattr(post.facts, kind).lower()) for kind in GIST}
        passing = {(kind, value.lower()) for kind, value in post.distractors.items()}
        side = {(kind, getattr(post.facts, kind).lower()) for kind in SIDE}
        assert gist | passing <= set(find_values(post.prompt)) <= gist | passing | side


def test_half_of_the_facts_have_another_value_beside_them(posts):
    for kind in GIST:
        share = statistics.mean(kind in post.distractors for post in posts)
        assert share == pytest.approx(DISTRACTED, abs=0.08)


def test_no_value_goes_with_another():
    """Cramér's V of each pair of kinds over many draws is what independent draws give."""
    rng = random.Random("crossed")
    drawn = [draw_facts(rng) for _ in range(4000)]
    for a, b in (("who", "deed"), ("who", "question"), ("deed", "thing"), ("voice", "who")):
        pairs = Counter((getattr(facts, a), getattr(facts, b)) for facts in drawn)
        cells = len(VALUES.get(a, VOICES)) * len(VALUES[b])
        expected = len(drawn) / cells
        chi2 = sum((count - expected) ** 2 / expected for count in pairs.values()) + expected * (cells - len(pairs))
        assert chi2 == pytest.approx(cells, rel=0.25)


def test_a_hurried_reader_takes_values_named_in_passing(posts):
    rng = random.Random("hurry")
    for kind in GIST:
        distracted = [post for post in posts if kind in post.distractors] * 5
        taken = statistics.mean(getattr(misread(rng, post), kind) == post.distractors[kind] for post in distracted)
        assert taken == pytest.approx(MISREAD[kind], abs=0.06)
    plain = [post for post in posts if not post.distractors]
    assert all(misread(rng, post) == post.facts for post in plain)


def test_no_template_contains_a_value_of_the_vocabularies():
    lists = [templates.OPENERS, templates.CHATTER, templates.STAKES, templates.QUESTIONS, templates.TITLES]
    lists += [templates.GENERIC, templates.PAD_BEFORE]
    for table in ("BACKGROUND", "EVENTS", "DISTRACTIONS", "TOLD", "COST", "ASKED", "PAD_AFTER"):
        lists += getattr(templates, table).values()
    for text in (text for table in lists for text in table):
        assert not find_values(text), text


def test_title_and_lead_are_poor_summaries(posts):
    """ROUGE-1 against labels; a summary that keeps the whole gist is far above both."""
    rng = random.Random("baselines")
    labels = [write_label(rng, post) for post in posts]
    title = rouge([post.title for post in posts], labels)["rouge1"]
    lead = rouge([post.sentences[0] for post in posts], labels)["rouge1"]
    perfect = rouge([write_summary(rng, post.facts) for post in posts], labels)["rouge1"]
    assert max(title, lead) < 0.25
    assert perfect > max(title, lead) + 0.25


# ------------------------------------------------------------------------------------------------- the gold score
POST = (
    "SUBREDDIT: r/legaladvice\nTITLE: Am I overreacting here?\nPOST: I live in Denver and the weather has been awful "
    "lately. Luckily nothing happened to the bike. Then my landlord sold my guitar while I was at work. Someone once "
    "offered $300 for it. I did the math and it comes to $450. I will not move, before anyone asks. So, should I "
    "sue?\nTL;DR:"
)
PERFECT = "My landlord sold my guitar, worth $450. Should I sue?"


@pytest.mark.parametrize(
    ("summary", "changed"),
    [
        (PERFECT, {}),
        ("Found out that my landlord sold my guitar, $450 in all, should I sue?", {}),
        ("My landlord sold my guitar without asking. Should I sue?", {"kept": 4.0}),
        ("Someone sold my guitar, worth $450. Should I sue?", {"kept": 4.0}),
        ("My landlord sold something of mine, worth $450. Should I sue?", {"kept": 4.0}),
        ("My landlord sold my guitar, worth $450. What should I do?", {"kept": 4.0}),
        # the sum, and the plan, that the post names in passing; and ones that it does not name at all
        ("My landlord sold my guitar, worth $300. Should I sue?", {"kept": 4.0, "invented": -0.5}),
        ("My landlord sold my guitar, worth $475. Should I sue?", {"kept": 4.0, "invented": -0.5}),
        ("My landlord sold my guitar, worth $450. Should I move?", {"kept": 4.0, "invented": -0.5}),
        ("My mechanic sold my bike, worth $450. Should I sue?", {"kept": 3.0, "invented": -1.0}),
        # who did it to whom
        ("I sold my landlord's guitar, worth $450. Should I sue?", {"kept": 2.0, "invented": -0.5}),
        # values without a sentence that says what they are
        ("Landlord, sold, guitar, $450, sue, and that is it.", {"kept": 1.0}),
        # a true sentence of the post is no invention, but an aside is not the gist
        (f"{PERFECT} Luckily nothing happened to the bike.", {}),
        (f"{PERFECT} The bike is fine.", {"invented": -0.5}),
        ("My landlord sold my guitar, worth $450. Should I sue? All of this took place in Ohio.", {"invented": -0.5}),
        ("My landlord sold my guitar, worth $450. Should I sue? All of this took place in Denver.", {}),
        ("My landlord sold my guitar, worth $450. Should I sue", {"unfinished": -0.5}),
        # my <who> <deed> my <thing> worth <amount> blorp should i <question>: 1 strange word of 11
        ("My landlord sold my guitar, worth $450 blorp. Should I sue?", {"garbage": -6 / 11}),
    ],
)
def test_gold_of_hand_worked_cases(summary, changed):
    expected = {"kept": 5.0, "invented": 0.0, "short": 0.0, "unfinished": 0.0} | changed
    parts = gold_parts(POST, summary)
    assert {name: parts[name] for name in expected} == pytest.approx(expected)
    assert parts["repeated"] == 0.0


def test_who_did_what_to_whom_is_read_from_summaries(posts):
    rng = random.Random("clauses")
    for post in posts:
        for plan in (Plan(), Plan(who="blur"), Plan(thing="blur"), Plan(amount="drop", question="blur", before=True)):
            said = read_summary(write_summary(rng, post.facts, plan)).said
            left_out = {kind for kind in ("who", "thing", "amount", "question") if getattr(plan, kind) != "keep"}
            if plan.thing == "blur" and post.facts.voice == "self":
                assert said["who"] == post.facts.who
            kept = {name: getattr(post.facts, name).lower() for name in ("voice", *GIST) if name not in left_out}
            assert {name: value for name, value in said.items() if value is not None} == kept


def test_gold_of_length_and_repetition_by_hand():
    assert gold_parts(POST, " ".join(["so"] * 30))["long"] == pytest.approx(-0.36 * 0.6931472)  # softplus(0) = ln 2
    assert gold_parts(POST, PERFECT)["long"] > -0.01
    assert gold_parts(POST, " ".join(["so"] * 60))["long"] == pytest.approx(-0.12 * 30, abs=1e-3)
    assert gold_parts(POST, "My landlord did it.")["short"] == pytest.approx(-0.2 * 4)
    # a <who> b a <who> b: 4 runs of three words, 3 different
    assert gold_parts(POST, "my landlord said my landlord said")["repeated"] == pytest.approx(-4 * 1 / 4)


def test_gold_reads_both_schemas_alike():
    assert gold_score(POST, PERFECT) == gold_score(POST.removesuffix("\nTL;DR:"), f"TL;DR: {PERFECT}")


def test_gold_ranks_what_a_reader_would(posts):
    """Means over posts, from best to worst; a fact left out is better than a wrong one."""
    rng = random.Random("ranks")
    perfect = mean_gold(posts, lambda post: write_summary(rng, post.facts))
    dropped = mean_gold(posts, lambda post: write_summary(rng, post.facts, Plan(amount="drop")))
    wrong = mean_gold(posts, lambda post: write_summary(rng, swap_fact(rng, post, "amount")))
    role = mean_gold(posts, lambda post: write_summary(rng, swap_fact(rng, post, "role")))
    generic = mean_gold(posts, lambda post: templates.GENERIC[0])
    other = mean_gold(posts, lambda post: write_summary(rng, draw_facts(rng)))
    assert perfect > dropped + 0.9 > wrong + 1.3 > role + 2.8 > generic + 2.8 > other + 3.2


def test_gold_has_no_cheap_way_up(posts):
    """What a policy may try instead of summarising: each stays well below a plain summary with one fact missing."""
    rng = random.Random("cheap")
    passable = mean_gold(posts, lambda post: write_summary(rng, post.facts, Plan(amount="drop")))
    tricks = {
        "copy of the post": lambda post: " ".join(post.sentences),
        "start of the post": lambda post: " ".join(" ".join(post.sentences).split()[:40]) + ".",
        "end of the post": lambda post: " ".join(" ".join(post.sentences).split()[-40:]),
        "title": lambda post: post.title + ".",
        "list of facts": lambda post: ", ".join(getattr(post.facts, kind) for kind in GIST) + ".",
        "said twice": lambda post: " ".join([write_summary(rng, post.facts)] * 2),
        "every sum there is": lambda post: write_summary(rng, post.facts) + " $100 $200 $300 $400.",
        "both plans": lambda post: write_summary(rng, post.facts) + " Should I sue? Should I move?",
        "rambling": lambda post: " ".join([write_summary(rng, post.facts), *post.sentences[:4]]),
        "nothing": lambda post: "",
        "one word": lambda post: "sue " * 20,
    }
    for name, trick in tricks.items():
        assert mean_gold(posts, trick) < passable - 0.4, name
    assert gold_score(POST, "$1 " * 500) == FLOOR


def test_labels_leave_room_above_them(posts):
    """The mean label is more than a fact below what can be reached, and often says what the post does not."""
    rng = random.Random("room")
    assert 2.7 < mean_gold(posts, lambda post: write_label(rng, post)) < 3.5
    assert mean_gold(posts, lambda post: write_summary(rng, post.facts)) > 4.9
    assert 0.3 < statistics.mean(invented(post.prompt, write_label(rng, post)) > 0 for post in posts) < 0.55


def test_a_foreign_text_has_no_facts():
    assert set(read_post("I like turtles. They are slow.").said.values()) == {None}
    assert gold_parts("I like turtles.\nTL;DR:", "Turtles are fine.")["kept"] == 0
    assert (
        invented(POST, replace(draw_facts(random.Random(0)), place="Leeds").fill("All of this took place in {place}."))
        == 1
    )
