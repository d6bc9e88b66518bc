"""The embedded data set: reproduced byte for byte, in the published schemas, and nothing about it is known unread."""

import json
import random
import statistics
from collections import Counter
from pathlib import Path

import pytest
import torch

from quickstart import blind_rule, comparisons, make_data
from quickstart.gold import gold_score
from quickstart.vocabulary import GIST, SUBREDDITS

DATA = Path(make_data.__file__).parent / "data"
ROWS = {"tldr": make_data.TLDR_ROWS, "comparisons": make_data.COMPARISON_ROWS}


def rows(name: str, split: str) -> list[dict[str, str]]:
    lines = (DATA / f"openai_summarize_{name}" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def probes(kind: str) -> list[dict[str, str]]:
    lines = (DATA / "reading_probes.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


# ------------------------------------------------------------------------------------------------- the files
def test_the_generator_reproduces_the_files_byte_for_byte(tmp_path):
    make_data.make_data(tmp_path, seed=0)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in sorted(tmp_path.rglob("*.json*"))}
    checked_in = {path.relative_to(DATA): path.read_bytes() for path in sorted(DATA.rglob("*.json*"))}
    assert list(made) == list(checked_in)
    assert [path for path in made if made[path] != checked_in[path]] == []


def test_another_seed_gives_other_posts():
    first, other = (make_data.new_post(random.Random(f"2 {seed} tldr train"), set()) for seed in (0, 1))
    assert first.body == rows("tldr", "train")[0]["prompt"].removesuffix("\nTL;DR:")
    assert first.body != other.body


def test_tldr_rows_have_the_published_schema():
    for split, count in {"train": 2400, "valid": 200, "test": 200}.items():
        table = rows("tldr", split)
        assert len(table) == count
        for row in table:
            assert set(row) == {"prompt", "label"}
            subreddit, title, post, end = row["prompt"].split("\n")
            assert subreddit.removeprefix("SUBREDDIT: r/") in SUBREDDITS
            assert title.startswith("TITLE: ")
            assert post.startswith("POST: ")
            assert post.endswith("?")
            assert end == "TL;DR:"
            assert 45 <= len(post.removeprefix("POST: ").split()) <= 140
            assert row["label"] == row["label"].strip()
            assert 4 <= len(row["label"].split()) <= 45


def test_comparison_rows_have_the_published_schema():
    for split, count in {"train": 6400, "valid": 600, "test": 600}.items():
        table = rows("comparisons", split)
        assert len(table) == count
        for row in table:
            assert set(row) == {"prompt", "chosen", "rejected"}
            assert row["prompt"].startswith("SUBREDDIT: r/")
            assert row["prompt"].endswith("?")
            assert "TL;DR" not in row["prompt"]
            summaries = [row[side].removeprefix("TL;DR: ") for side in ("chosen", "rejected")]
            assert all(row[side].startswith("TL;DR: ") for side in ("chosen", "rejected"))
            assert summaries[0] != summaries[1]
            assert all(len(summary.split()) >= 5 for summary in summaries)


def test_no_post_stands_in_two_splits():
    bodies = [
        row["prompt"].removesuffix("\nTL;DR:") for name in ROWS for split in ROWS[name] for row in rows(name, split)
    ]
    bodies += [row["prompt"] for kind in comparisons.KINDS for row in probes(kind)]
    assert len(set(bodies)) == len(bodies) == 2400 + 200 + 200 + 6400 + 600 + 600 + 6 * 100


def test_few_labels_repeat():
    assert len({row["label"] for row in rows("tldr", "train")}) > 2300


# ------------------------------------------------------------------------------------------------- the probes
@pytest.mark.parametrize("kind", comparisons.KINDS)
def test_a_minimal_pair_differs_in_one_fact_and_the_post_decides(kind):
    table = probes(kind)
    assert len(table) == make_data.MINIMAL_PAIRS
    for row in table:
        right, wrong = (row[side].removeprefix("TL;DR: ") for side in ("chosen", "rejected"))
        assert gold_score(row["prompt"], right) > 4.9
        assert gold_score(row["prompt"], wrong) < gold_score(row["prompt"], right) - 1.4
        if kind in GIST:
            assert sum(a != b for a, b in zip(right.split(), wrong.split(), strict=True)) == 1


def test_the_other_probes_are_the_test_pairs_under_another_post():
    test, moved = rows("comparisons", "test"), probes("another post")
    assert [(row["chosen"], row["rejected"]) for row in moved] == [(row["chosen"], row["rejected"]) for row in test]
    assert sorted(row["prompt"] for row in moved) == sorted(row["prompt"] for row in test)
    assert not any(ours["prompt"] == other["prompt"] for ours, other in zip(test, moved, strict=True))


# ------------------------------------------------------------------------------------------------- the labels
def test_labels_follow_the_gold_score_with_the_stated_noise():
    """The mean agreement is the ceiling; the agreement expected of Bradley-Terry at each pair's gap is the same."""
    ceiling = json.loads((DATA / "ceiling.json").read_text())
    for split in make_data.COMPARISON_ROWS:
        table = rows("comparisons", split)
        gaps = [gold_score(x["prompt"], x["chosen"]) - gold_score(x["prompt"], x["rejected"]) for x in table]
        expected = statistics.mean(torch.sigmoid(torch.tensor(gaps).abs() / comparisons.TAU).tolist())
        assert statistics.mean(gap > 0 for gap in gaps) == pytest.approx(ceiling[split], abs=1e-4)
        assert ceiling[split] == pytest.approx(expected, abs=3 * (0.25 / len(gaps)) ** 0.5)
        assert 0.90 <= ceiling[split] <= 0.96
        assert min(abs(gap) for gap in gaps) >= comparisons.MIN_GAP


def test_no_rule_without_the_post_goes_far():
    """Ours, fitted with everything that the summaries show, and the simplest ones."""
    found = blind_rule.blind_rule(DATA)
    assert 0.5 < found["test_accuracy"] <= 0.65
    assert 0.4 < found["longer_wins"] < 0.6


def test_the_blind_rule_finds_what_can_be_found(tmp_path):
    """Where the chosen summary has a word that the rejected has not, the same machinery learns it."""
    for split, count in {"train": 200, "valid": 50, "test": 50}.items():
        table = [
            {"prompt": "x", "chosen": f"TL;DR: good {n % 7} words", "rejected": f"TL;DR: poor {n % 5} words"}
            for n in range(count)
        ]
        make_data.write_rows(tmp_path / "openai_summarize_comparisons" / f"{split}.jsonl", table)
    assert blind_rule.blind_rule(tmp_path)["test_accuracy"] == 1.0


def test_every_failure_is_met():
    """By its mark in the text of the rejected summaries, where it leaves one."""
    texts = [row[side] for row in rows("comparisons", "train") for side in ("chosen", "rejected")]
    marks = {
        "scrambled": comparisons.NONSENSE,
        "generic": ("I have a problem and",),
        "title": ("What a mess this",),
        "copied": ("Throwaway because",),
    }
    counts = Counter(name for text in texts for name, words in marks.items() if any(word in text for word in words))
    assert set(counts) == set(marks)
