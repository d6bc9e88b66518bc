"""The card's figures, of reward models whose rule is known: one counts words, one reads the post."""

import json
from types import SimpleNamespace

import datasets
import pytest
import torch

from reward_model import card as cards
from reward_model.card import measure
from reward_model.card_pages import CARD, PAGE, PLOT, page, paragraph, warnings_of, write_card
from summarize_rlhf.evaluation.calibration import calibration

NAMES = ["cat", "boss", "sister", "car"]


def body(name: str, number: int) -> str:
    return f"SUBREDDIT: r/x\nTITLE: About my {name}\nPOST: My {name} moved {number} weeks ago. We lost the house again."


# Four posts; the chosen summary of each is about its post, and longer than the rejected one in all but the last.
ROWS = [
    {"prompt": body(name, i + 2), "chosen": f"TL;DR: my {name} moved {i + 2} weeks", "rejected": f"TL;DR: {other} left"}
    for i, (name, other) in enumerate(
        zip(NAMES, ["a train", "a bus", "the money", "some money that nobody ever"], strict=True)
    )
]


def counts_words(post: str, summary: str) -> float:
    return float(len(summary.split()))


def reads(post: str, summary: str) -> float:
    """Whether the post has all words of the summary."""
    return float(set(summary.split()) <= set(post.split()))


class Scorer:
    """Scores texts by a rule, in the place of a model; counts what it is asked for."""

    def __init__(self, tokenizer, rule, max_length: int = 250):
        self.tokenizer, self.rule, self.max_length, self.asked = tokenizer, rule, max_length, []

    def score_ids(self, texts, progress=None) -> torch.Tensor:
        self.asked += texts
        split = [self.tokenizer.decode(list(ids)).rpartition("\nTL;DR:") for ids in texts]
        return torch.tensor([self.rule(post, summary) for post, _, summary in split])


def make(tokenizer, rule, rows=ROWS, **more) -> tuple[dict, Scorer]:
    scorer = Scorer(tokenizer, rule, more.pop("max_length", 250))
    sides = [
        torch.tensor([rule(row["prompt"], row[s].removeprefix("TL;DR:")) for row in rows])
        for s in ("chosen", "rejected")
    ]
    splits = more.pop("splits", ["test"] * len(rows))
    return measure(scorer, rows, *sides, splits, **more) | {"data": {"split": "test"}}, scorer


def test_a_model_that_counts_words(tokenizer) -> None:
    card, _ = make(tokenizer, counts_words, splits=["a", "b", "a", "a"], ceiling=0.9, within_post_spread=0.5)
    assert (card["pairs"], card["posts"], card["ceiling"], card["within_post_spread"]) == (4, 4, 0.9, 0.5)
    assert card["accuracy"]["value"] == 3 / 4
    assert 0 < card["accuracy"]["low"] < 3 / 4 < card["accuracy"]["high"] < 1
    assert {name: found["value"] for name, found in card["by_split"].items()} == {"a": 2 / 3, "b": 1.0}
    assert card["rules"] == {"longer": 3 / 4, "more_copied": 1.0}  # chosen: one 4-gram of two stands in the post
    assert card["correlations"]["length"] == pytest.approx(1)
    assert card["calibration"] == calibration([2.0, 2.0, 2.0, -1.0])
    assert card["other_post"] == {"accuracy": 3 / 4, "own_post": 3 / 4, "pairs": 4}  # it does not read
    assert card["between_post_spread"] == 0.0
    beats = {name: probe["beats_label"] for name, probe in card["probes"].items()}
    assert beats == {
        "copied_title": 0.0, "plea": 1.0, "twice": 1.0, "empty": 0.0, "lead": 1.0, "other_summary": 0.0, "number": 0.0,
    }  # fmt: skip
    assert card["probes"]["twice"]["mean_difference"] == 5.0
    assert card["probes"]["lead"] == {
        "description": "the post's first sentence",
        "posts": 4,
        "beats_label": 1.0,
        "mean_difference": 1.0,
    }
    assert [b["accuracy"] for b in card["by_length_difference"]] == [0.0, 1.0]
    assert [(b["low"], b["high"], b["pairs"]) for b in card["by_margin"]] == [(1.0, 1.0, 1), (2.0, 2.0, 3)]


def test_a_model_that_reads_its_post(tokenizer) -> None:
    card, _ = make(tokenizer, reads)
    assert card["accuracy"]["value"] == 1.0
    assert card["other_post"] == {"accuracy": 0.0, "own_post": 1.0, "pairs": 4}  # all ties, which prefer nothing
    assert card["probes"]["other_summary"]["beats_label"] == 0.0
    number = card["probes"]["number"]
    assert number["description"] == "the human summary with one number changed"
    assert (number["beats_label"], number["mean_difference"]) == (0.0, -1.0)


def test_the_first_posts_are_probed_each_text_once(tokenizer, monkeypatch) -> None:
    """Two pairs a post: one probe of its first human summary."""
    monkeypatch.setattr(cards, "PROBED", 2)
    monkeypatch.setattr(cards, "UNDER_ANOTHER", 3)
    rows = [row | {"chosen": row["chosen"] + more} for more in ("", " ago") for row in ROWS]
    card, scorer = make(tokenizer, counts_words, rows)
    assert (card["pairs"], card["posts"]) == (8, 4)
    assert {probe["posts"] for probe in card["probes"].values()} == {2}
    assert card["probes"]["twice"]["mean_difference"] == 5.0
    assert card["other_post"] == {"accuracy": 1.0, "own_post": 1.0, "pairs": 3}  # of all eight six are right
    asked = list(map(tuple, scorer.asked))
    assert len(asked[6:]) == len(set(asked[6:])) == 2 * 8  # human summary and seven probes; three pairs before


def test_a_stages_card_is_of_its_first_pairs(tokenizer, monkeypatch) -> None:
    scorer = Scorer(tokenizer, counts_words)
    monkeypatch.setattr(cards, "Scorer", lambda *_: scorer)
    model, rows = SimpleNamespace(v_head=torch.nn.Linear(2, 1)), datasets.Dataset.from_list(ROWS, split="test")
    for most, pairs, right in ((3, 3, 1.0), (9, 4, 3 / 4)):
        card = cards.stage_card(model, tokenizer, 250, rows, most)
        assert (card["pairs"], card["accuracy"]["value"], list(card["by_split"])) == (pairs, right, ["test"])
        assert card["data"]["rows"] == pairs
    assert cards.stage_card(model, tokenizer, 250, rows, 0) is None


def test_spread_of_posts_by_hand() -> None:
    """Of each post's first pair: 1 and 3, whose distances from 2 are squared, added, and divided by one post less."""
    assert cards.between_post_spread(torch.tensor([1.0, 3.0, 9.0]), ["a", "b", "a"]) == pytest.approx(2**0.5)


def test_a_long_post_is_cut_to_the_models_length(tokenizer) -> None:
    long, left = [row | {"prompt": row["prompt"] * 9} for row in ROWS], []
    for most in range(95, 100):  # where a word of the post ends
        _, scorer = make(tokenizer, counts_words, long, max_length=most)
        left.append(most - max(map(len, scorer.asked)))
    assert min(left) == 1  # what has to be cut is cut to one token less


def test_what_cannot_be_measured_is_none(tokenizer) -> None:
    """All pairs of one post, equal summaries, texts too long for the probes."""
    one = [{"prompt": "My cat left", "chosen": "my cat left us", "rejected": "my cat left us"}] * 2
    card, _ = make(tokenizer, counts_words, one)
    assert card["correlations"] == {"length": None, "position": None, "copying": None}
    assert card["other_post"]["accuracy"] is None
    assert card["between_post_spread"] is None
    assert card["calibration"]["temperature"] is None
    assert set(card["probes"]) == {"plea", "twice", "empty", "lead"}
    assert "Its scores, or its pairs, are all alike." in paragraph(card)
    page(card | {"paragraph": ""})
    json.dumps(card, allow_nan=False)
    long = [row | {"chosen": "TL;DR: " + "house " * 30} for row in ROWS]
    room = len(tokenizer("<|startoftext|>\nTL;DR: " + "house " * 30).input_ids) + 2
    card, _ = make(tokenizer, counts_words, long, max_length=room)
    assert set(card["probes"]) == {"copied_title", "empty", "lead"}  # no room for the summary twice or a plea


def test_words_of_the_card(tokenizer) -> None:
    card, _ = make(tokenizer, counts_words, ceiling=0.9, within_post_spread=0.5)
    told = paragraph(card)
    assert told.startswith("On 4 pairs of test this reward model prefers the summary that people preferred in 75 % (")
    assert (
        "the longer one would be right in 75 %, the one with more copied words in 100 %, and the labels allow 90 %"
        in told
    )
    assert "its score goes with length (+1.00)" in told
    assert "of 4 pairs (their own: 75 %" in told
    found = [
        'the human summary and "Any advice would be appreciated."',
        "the human summary, twice",
        "the post's first sentence",
    ]
    listed = f"{found[0]} (100 %), {found[1]} (100 %) and {found[2]} (100 %)"
    assert f"It scores higher than the human summary: {listed}." in told
    assert [line.split(": ")[0] for line in warnings_of(card)] == [
        f"the reward model scores {text} higher than the human summary in 100 % of 4 posts" for text in found
    ]
    card["probes"]["twice"]["beats_label"] = 0.5
    assert len(list(warnings_of(card))) == 2  # half is no more than half


@pytest.mark.parametrize(("temperature", "words"), [(3.0, "too much"), (0.5, "too little"), (1.1, "mean about what")])
def test_words_of_the_temperature(tokenizer, temperature, words) -> None:
    card, _ = make(tokenizer, counts_words)
    card["calibration"]["temperature"] = temperature
    assert words in paragraph(card)


def test_files_of_the_card(tokenizer, tmp_path) -> None:
    card, _ = make(tokenizer, counts_words)
    (tmp_path / "run.json").write_text(
        json.dumps({"files": {name: {"bytes": 1, "sha256": "abc"} for name in ("config.json", "model.safetensors")}})
    )
    written = write_card(tmp_path, card, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {CARD, PAGE, PLOT, "run.json"}
    assert (
        json.loads((tmp_path / CARD).read_text())
        == written
        == card | {"weights": {"model.safetensors": "abc"}, "paragraph": paragraph(card)}
    )
    assert (tmp_path / PLOT).read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / PAGE).read_text()
    assert written["paragraph"] in text
    assert "| lead  " in text
