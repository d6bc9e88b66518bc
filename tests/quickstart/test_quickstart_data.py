"""The embedded data set: reproduced byte for byte, in the published schemas, with a gold score that is hard to fool."""

import json
import random
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from quickstart import comparisons, make_data, templates
from quickstart.gold import find_facts, gold_parts, gold_score
from quickstart.posts import Facts, Plan, Post, draw_facts, human_plan, swap_fact, write_post, write_summary
from quickstart.vocabulary import GIST, SIDE, THEMES
from summarize_rlhf.rouge import rouge

DATA = Path(make_data.__file__).parent / "data"


def rows(name: str, split: str) -> list[dict[str, str]]:
    lines = (DATA / f"openai_summarize_{name}" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def posts() -> list[Post]:
    rng = random.Random("tests")
    return [write_post(rng, draw_facts(rng)) for _ in range(300)]


def mean_gold(posts: list[Post], write: Callable[[Post], str]) -> float:
    """Score one written summary of each post, and average."""
    return statistics.mean(gold_score(post.prompt, write(post)) for post in posts)


# ------------------------------------------------------------------------------------------------- the files
def test_the_generator_reproduces_the_files_byte_for_byte(tmp_path):
    make_data.make_data(tmp_path, seed=0)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in sorted(tmp_path.rglob("*.json*"))}
    checked_in = {path.relative_to(DATA): path.read_bytes() for path in sorted(DATA.rglob("*.json*"))}
    assert list(made) == list(checked_in)
    assert [path for path in made if made[path] != checked_in[path]] == []


def test_another_seed_gives_other_posts():
    first, other = (make_data.new_post(random.Random(f"{seed} tldr train"), set()) for seed in (0, 1))
    assert first.body == rows("tldr", "train")[0]["prompt"].removesuffix("\nTL;DR:")
    assert first.body != other.body


def test_tldr_rows_have_the_published_schema():
    for split, count in {"train": 2400, "valid": 200, "test": 200}.items():
        table = rows("tldr", split)
        assert len(table) == count
        for row in table:
            assert set(row) == {"prompt", "label"}
            subreddit, title, post, end = row["prompt"].split("\n")
            assert subreddit.startswith("SUBREDDIT: r/")
            assert title.startswith("TITLE: ")
            assert post.startswith("POST: ")
            assert post.endswith("?")
            assert end == "TL;DR:"
            assert 60 <= len(post.removeprefix("POST: ").split()) <= 200
            assert row["label"] == row["label"].strip()
            assert 5 <= len(row["label"].split()) <= 45


def test_comparison_rows_have_the_published_schema():
    for split, count in {"train": 6400, "test": 300}.items():
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
    bodies = [row["prompt"].removesuffix("\nTL;DR:") for split in make_data.TLDR_ROWS for row in rows("tldr", split)]
    bodies += [row["prompt"] for split in make_data.COMPARISON_ROWS for row in rows("comparisons", split)]
    assert len(set(bodies)) == len(bodies) == 2400 + 200 + 200 + 6400 + 300


def test_every_subreddit_is_met_and_few_labels_repeat():
    table = rows("tldr", "train")
    subreddits = Counter(row["prompt"].split("\n")[0] for row in table)
    assert len(subreddits) == len(THEMES)
    assert min(subreddits.values()) > 150
    assert len({row["label"] for row in table}) > 2350


# ------------------------------------------------------------------------------------------------- the posts
def test_a_post_tells_its_own_facts_and_no_others(posts):
    for post in posts:
        gist = {(kind, getattr(post.facts, kind).lower()) for kind in GIST}
        side = {(kind, getattr(post.facts, kind).lower()) for kind in SIDE}
        assert gist <= find_facts(post.prompt) <= gist | side


def test_no_template_contains_a_value_of_the_vocabularies():
    lists = [templates.OPENERS, templates.CHATTER, templates.DEADLINES, templates.QUESTIONS, templates.TITLES]
    lists += [templates.GENERIC, templates.PAD_BEFORE, templates.BLURRED["who"]]
    for table in ("BACKGROUND", "EVENTS", "STAKES", "TOLD", "COST", "ASKED", "PAD_AFTER"):
        lists += getattr(templates, table).values()
    lists += templates.BLURRED["thing"].values()
    for text in (text for table in lists for text in table):
        assert not find_facts(text), text


def test_title_and_lead_are_poor_summaries(posts):
    """ROUGE-1 against labels; a summary that keeps the whole gist is far above both."""
    rng = random.Random("baselines")
    labels = [write_summary(rng, post.facts, human_plan(rng), post.sentences) for post in posts]
    title = rouge([post.title for post in posts], labels)["rouge1"]
    lead = rouge([post.sentences[0] for post in posts], labels)["rouge1"]
    perfect = rouge([write_summary(rng, post.facts) for post in posts], labels)["rouge1"]
    assert max(title, lead) < 0.20
    assert perfect > max(title, lead) + 0.30


# ------------------------------------------------------------------------------------------------- the gold score
LEGAL = next(theme for theme in THEMES if theme.subreddit == "legaladvice")
FACTS = Facts(
    theme=LEGAL,
    who="landlord",
    deed="withheld",
    thing="deposit",
    amount="$450",
    question="hire a lawyer",
    place="Denver",
    span="two years",
    day="Friday",
    hobby="chess club",
    gender="he",
)
POST = (
    "SUBREDDIT: r/legaladvice\nTITLE: Am I overreacting here?\nPOST: I grew up in Denver. We have been on good "
    "terms for two years, more or less. Then my landlord withheld my deposit while I was at work. That is $450 I do "
    "not have. I promised to give an answer by Friday. So, should I hire a lawyer?\nTL;DR:"
)
PERFECT = "My landlord withheld my deposit, worth $450. Should I hire a lawyer?"


@pytest.mark.parametrize(
    ("summary", "changed"),
    [
        (PERFECT, {}),
        ("My landlord withheld my deposit. Should I hire a lawyer?", {"kept": 3.0}),
        ("Someone I know withheld my deposit, worth $450. Should I hire a lawyer?", {"kept": 3.0}),
        ("My landlord withheld something of mine, worth $450. Should I hire a lawyer?", {"kept": 3.5}),
        ("My landlord withheld my deposit, worth $450. What should I do?", {"kept": 3.0}),
        ("My landlord withheld my deposit, worth $475. Should I hire a lawyer?", {"kept": 3.0, "invented": -1.0}),
        ("My landlord withheld my deposit, worth $450. Should I press charges?", {"kept": 3.0, "invented": -1.0}),
        ("My mechanic towed my truck, worth $450. Should I hire a lawyer?", {"kept": 2.0, "invented": -3.0}),
        ("My landlord withheld my deposit, worth $450. Should I hire a lawyer", {"unfinished": -0.5}),
        ("My landlord withheld my deposit.", {"kept": 2.0, "short": -0.8}),
        # my <who> <deed> my <thing> worth <amount> blorp should i <question>: 1 strange word of 11
        ("My landlord withheld my deposit, worth $450 blorp. Should I hire a lawyer?", {"garbage": -6 / 11}),
    ],
)
def test_gold_of_hand_worked_cases(summary, changed):
    expected = {"kept": 4.0, "invented": 0.0, "short": 0.0, "garbage": 0.0, "unfinished": 0.0} | changed
    parts = gold_parts(POST, summary)
    assert {name: parts[name] for name in expected} == pytest.approx(expected)
    assert parts["repeated"] == 0.0


def test_gold_of_length_and_repetition_by_hand():
    assert gold_parts(POST, " ".join(["so"] * 30))["long"] == pytest.approx(-0.36 * 0.6931472)  # softplus(0) = ln 2
    assert gold_parts(POST, PERFECT)["long"] > -0.01
    assert gold_parts(POST, " ".join(["so"] * 60))["long"] == pytest.approx(-0.12 * 30, abs=1e-3)
    # a <who> b a <who> b: 4 runs of three words, 3 different
    assert gold_parts(POST, "my landlord said my landlord said")["repeated"] == pytest.approx(-4 * 1 / 4)


def test_gold_reads_both_schemas_alike():
    assert gold_score(POST, PERFECT) == gold_score(POST.removesuffix("\nTL;DR:"), f"TL;DR: {PERFECT}")


def test_gold_ranks_what_a_reader_would(posts):
    """Means over posts, from best to worst."""
    rng = random.Random("ranks")
    perfect = mean_gold(posts, lambda post: write_summary(rng, post.facts))
    padded = mean_gold(posts, lambda post: write_summary(rng, post.facts, Plan(before=True, after=1), post.sentences))
    dropped = mean_gold(posts, lambda post: write_summary(rng, post.facts, Plan(amount="drop")))
    invented = mean_gold(posts, lambda post: write_summary(rng, swap_fact(rng, post.facts, "amount")))
    generic = mean_gold(posts, lambda post: templates.GENERIC[0])
    other = mean_gold(posts, lambda post: write_summary(rng, draw_facts(rng)))
    assert perfect > padded + 0.1 > dropped > invented + 0.5 > generic + 1 > other + 1


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
        "rambling": lambda post: " ".join([write_summary(rng, post.facts), *post.sentences[:3]]),
        "nothing": lambda post: "",
        "one word": lambda post: "lawyer " * 20,
    }
    for name, trick in tricks.items():
        assert mean_gold(posts, trick) < passable - 0.5, name
    assert gold_score(POST, "") >= -2.0
    assert gold_score(POST, "$1 " * 500) == -2.0


def test_labels_leave_room_above_them():
    """The mean label is more than one fact below what can be reached, so that stage 3 has somewhere to go."""
    rng = random.Random("room")
    labels = statistics.mean(gold_score(row["prompt"], row["label"]) for row in rows("tldr", "test"))
    fresh = [write_post(rng, draw_facts(rng)) for _ in range(200)]
    perfect = mean_gold(fresh, lambda post: write_summary(rng, post.facts))
    assert 2.2 < labels < 2.9
    assert perfect > 3.9


# ------------------------------------------------------------------------------------------------- the comparisons
def test_labels_follow_the_gold_score_with_the_stated_noise():
    """The mean agreement is the ceiling; the agreement expected of Bradley-Terry at each pair's gap is the same."""
    ceiling = json.loads((DATA / "ceiling.json").read_text())
    for split in make_data.COMPARISON_ROWS:
        gaps = []
        for row in rows("comparisons", split):
            gaps.append(gold_score(row["prompt"], row["chosen"]) - gold_score(row["prompt"], row["rejected"]))
        assert statistics.mean(gap > 0 for gap in gaps) == pytest.approx(ceiling[split], abs=1e-4)
        assert 0.92 <= ceiling[split] <= 0.97
        assert min(abs(gap) for gap in gaps) >= comparisons.MIN_GAP
        nearby = [gap > 0 for gap in gaps if abs(gap) < 0.3]
        assert 0.5 < statistics.mean(nearby) < 0.85
        assert statistics.mean(gap > 0 for gap in gaps if abs(gap) > 1.5) > 0.98


def test_every_writer_is_met_and_the_longer_one_does_not_just_win():
    assert len(comparisons.WRITERS) == 16
    table = rows("comparisons", "test")
    longer = statistics.mean(len(row["chosen"]) > len(row["rejected"]) for row in table)
    assert 0.25 < longer < 0.65
