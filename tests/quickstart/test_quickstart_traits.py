"""What a summary is made of, on a post whose facts are known."""

import pytest

from quickstart.traits import grams, traits

POST = (
    "SUBREDDIT: r/legaladvice\nTITLE: Am I overreacting here?\nPOST: I live in Denver and the weather has been awful "
    "lately. Then my landlord sold my guitar while I was at work. Someone once offered $300 for it. I did the math and "
    "it comes to $450. I need to decide before Friday. So, should I sue?\nTL;DR:"
)
GOOD = "My landlord sold my guitar, worth $450. Should I sue?"


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (GOOD, {"kept": 1.0, "invented": 0.0, "side": 0.0, "words": 10.0}),
        ("My landlord sold my guitar.", {"kept": 0.6, "invented": 0.0, "side": 0.0, "words": 5.0}),
        (GOOD.replace("$450", "$475"), {"kept": 0.8, "invented": 1.0}),
        (GOOD.replace("$450", "$300"), {"kept": 0.8, "invented": 1.0}),  # said in passing, not the sum
        (GOOD.replace("$450", "$475").replace("landlord", "mechanic"), {"kept": 0.6, "invented": 1.0}),
        ("I sold my landlord's guitar, worth $450. Should I sue?", {"invented": 1.0}),
        (f"{GOOD} I live in Denver and need to know by Friday.", {"kept": 1.0, "invented": 0.0, "side": 2.0}),
        (f"{GOOD} I live in Chicago.", {"kept": 1.0, "invented": 1.0, "side": 0.0}),
        (f"{GOOD} {GOOD}", {"kept": 1.0, "invented": 0.0, "side": 0.0, "words": 20.0}),  # each fact counts once
        ("", {"kept": 0.0, "invented": 0.0, "side": 0.0, "words": 0.0, "copied": 0.0}),
    ],
)
def test_by_hand(summary, expected):
    found = traits(POST, summary)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_copied_runs_by_hand():
    """my landlord sold my | landlord sold my guitar | … of 7 runs; should i sue is too short for one of its own."""
    assert len(grams(GOOD)) == 7
    assert traits(POST, GOOD)["copied"] == pytest.approx(2 / 7)
    assert traits(POST, "Then my landlord sold my guitar while I was at work.")["copied"] == 1.0
    assert traits(POST, "Nobody here said that at all")["copied"] == 0.0


def test_both_schemas_alike():
    assert traits(POST, GOOD) == traits(POST.removesuffix("\nTL;DR:"), f"TL;DR: {GOOD}")
