"""The probes' texts, on posts of a line."""

import pytest

from summarize_rlhf.evaluation.probes import DESCRIPTIONS, PLEA, change_name, change_number, lead, make_probes, title

BODY = "SUBREDDIT: r/pets\nTITLE: My cat [3 M]\nPOST: He left. We asked Anna. He is 3!\n\nHelp."


def test_texts_of_a_post() -> None:
    other = "SUBREDDIT: r/dogs\nTITLE: Dog\nPOST: A dog met Boris? Yes."
    made = make_probes([f"{BODY}\nTL;DR:", other], ["TL;DR: cat of 3 years left, asked Anna", "Dog met Boris."])
    assert made.keys() == DESCRIPTIONS.keys()
    assert {name: texts[0] for name, texts in made.items()} == {
        "copied_title": "My cat [3 M]",
        "plea": f"cat of 3 years left, asked Anna {PLEA}",
        "twice": "cat of 3 years left, asked Anna cat of 3 years left, asked Anna",
        "empty": "",
        "lead": "He left.",
        "other_summary": "Dog met Boris.",
        "number": "cat of 4 years left, asked Anna",
        "name": "cat of 3 years left, asked Boris",
    }
    assert {name: made[name][1] for name in ("other_summary", "number", "lead")} == {
        "other_summary": "cat of 3 years left, asked Anna",
        "number": None,  # it has none
        "lead": "A dog met Boris?",
    }


def test_nothing_where_nothing_changes() -> None:
    made = make_probes(["My cat moved. It is back.", "My cat moved. It is back."], ["My cat moved.", "It moved."])
    assert made["lead"] == [None, "My cat moved."]  # the first summary is the first sentence
    assert made["copied_title"] == [None, None]
    assert made["other_summary"] == [None, None]  # of the same post
    assert make_probes(["a", "b"], ["", "x"])["empty"] == [None, ""]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("POST: One. Two.", "One."),
        ("POST: Version 2.5 is out! Yes", "Version 2.5 is out!"),
        ("POST:\n\n no stop\nnext line.", "no stop"),
        ("POST: all of it", "all of it"),
        ("a body of its own? Yes", "a body of its own?"),
        ("POST:", None),
        ("", None),
    ],
)
def test_first_sentence(body: str, sentence: str | None) -> None:
    assert lead(body) == sentence


def test_title() -> None:
    assert title(BODY) == "My cat [3 M]"
    assert title("TITLE: \nPOST: TITLES: x") is None


@pytest.mark.parametrize(
    ("summary", "body", "changed"),
    [
        ("I am 24.", "I am 24, she is 34", "I am 44."),  # 34 stands in the post
        ("I owe $9,500", "", "I owe $1,500"),
        ("0.5 of 7", "", "1.5 of 7"),
        ("no number", "5", None),
        ("1 day", "2 3 4 5 6 7 8 9", None),
    ],
)
def test_one_number(summary: str, body: str, changed: str | None) -> None:
    assert change_number(summary, body) == changed


@pytest.mark.parametrize(
    ("summary", "body", "changed"),
    [
        ("He met Anna, then Clara", "Boris", "He met David, then Clara"),  # Boris stands in the post
        ("He met Anna", "Boris David", None),
        ("Anna left. Clara stayed", "", None),  # capitals of sentences
        ("my GF and I", "", None),
    ],
)
def test_one_name(summary: str, body: str, changed: str | None) -> None:
    assert change_name(summary, body, ["Anna", "Boris", "David"]) == changed
