"""What a summary is made of, on a post whose facts are known."""

import pytest

from quickstart.traits import grams, traits

POST = (
    "SUBREDDIT: r/legaladvice\nTITLE: Am I overreacting here?\nPOST: I grew up in Denver. We have been on good "
    "terms for two years, more or less. Then my landlord withheld my deposit while I was at work. That is $450 I do "
    "not have. I promised to give an answer by Friday. So, should I hire a lawyer?\nTL;DR:"
)
GOOD = "My landlord withheld my deposit, worth $450. Should I hire a lawyer?"


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (GOOD, {"kept": 1.0, "invented": 0.0, "side": 0.0, "words": 12.0}),
        ("My landlord withheld my deposit.", {"kept": 0.6, "invented": 0.0, "side": 0.0, "words": 5.0}),
        (GOOD.replace("$450", "$475"), {"kept": 0.8, "invented": 1.0}),
        (GOOD.replace("$450", "$475").replace("landlord", "mechanic"), {"kept": 0.6, "invented": 1.0}),
        (f"{GOOD} I live in Denver and it has been two years.", {"kept": 1.0, "invented": 0.0, "side": 2.0}),
        (f"{GOOD} I live in Chicago.", {"kept": 1.0, "invented": 1.0, "side": 0.0}),
        (f"{GOOD} {GOOD}", {"kept": 1.0, "invented": 0.0, "side": 0.0, "words": 24.0}),  # each fact counts once
        ("", {"kept": 0.0, "invented": 0.0, "side": 0.0, "words": 0.0, "copied": 0.0}),
    ],
)
def test_by_hand(summary, expected):
    found = traits(POST, summary)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_copied_runs_by_hand():
    """my landlord withheld my | landlord withheld my deposit | withheld my deposit worth …: 2 of 9 runs, and
    should i hire a | i hire a lawyer: 2 more."""
    assert len(grams(GOOD)) == 9
    assert traits(POST, GOOD)["copied"] == pytest.approx(4 / 9)
    assert traits(POST, "Then my landlord withheld my deposit while I was at work.")["copied"] == 1.0
    assert traits(POST, "Nobody here said that at all")["copied"] == 0.0


def test_both_schemas_alike():
    assert traits(POST, GOOD) == traits(POST.removesuffix("\nTL;DR:"), f"TL;DR: {GOOD}")
