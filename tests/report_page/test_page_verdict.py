"""The run in one sentence, and the figures in it."""

import pytest
from report_runs import e, evaluation, ppo_metrics, samples

from summarize_rlhf.report_page.material import Material, Stage
from summarize_rlhf.report_page.numbers import interval, with_interval, written
from summarize_rlhf.report_page.verdict import gold_difference, verdict


def run(said: str, gold: float | None, **changes) -> Material:
    content = evaluation()
    agrees = {"difference": e(-1.2 if said == "worse" else 1.2)}
    content["comparisons"][0] |= {"verdict": said} | agrees | changes
    rows = samples(gold or 0)
    for row in rows if gold is None else ():
        row["ppo"]["gold"] = None
    return Material("run", evaluation=content, samples=rows)


@pytest.mark.parametrize(
    ("said", "gold", "tone", "words"),
    [
        ("better", 1.0, "better", "PPO is better than SFT by the reward model: it wins 70.0 % (60.0 to 80.0 %) of "
         "30 posts, and the gold score agrees, +0.45 ("),
        ("better", -1.0, "gamed", "but the gold score falls, so the reward is being gamed, −0.45 ("),
        ("better", 0, "better", "while the gold score shows no clear change, +0.00 ("),
        ("better", None, "better", "(60.0 to 80.0 %) of 30 posts."),
        ("worse", 1.0, "worse", "PPO is worse than SFT by the reward model: it wins 70.0 % (60.0 to 80.0 %) of "
         "30 posts, but the gold score rises, "),
        ("worse", -1.0, "worse", "and the gold score agrees, −0.45 ("),
        ("undecided", 1.0, "undecided", "Between PPO and SFT the reward model is undecided: PPO wins 70.0 % (60.0 to "
         "80.0 %) of 30 posts, where ± 7 points would have shown, while the gold score rises, +0.45 ("),
        ("undecided", -1.0, "undecided", "while the gold score falls, "),
        ("undecided", 0, "undecided", "and the gold score shows no clear change either, "),
    ],
)  # fmt: skip
def test_the_sentence(said, gold, tone, words):
    found = verdict(run(said, gold))
    assert found["tone"] == tone
    assert words in found["sentence"].replace("\u00a0", " ")
    assert found["sentence"].count(". ") == 0
    assert found["sentence"].endswith(".")


@pytest.mark.parametrize(
    ("said", "difference", "tone", "words"),
    [
        ("worse", e(0.5, 0.49), "undecided", "PPO loses to SFT on most posts by the reward model: it wins 70.0 % (60.0 "
         "to 80.0 %) of 30 posts, but its mean reward is higher, +0.50 (+0.01 to +0.99), while the gold score rises, "),
        ("better", e(-0.5, 0.49), "undecided", "PPO beats SFT on most posts by the reward model: it wins 70.0 % (60.0 "
         "to 80.0 %) of 30 posts, but its mean reward is lower, −0.50 (−0.99 to −0.01), while"),
        ("worse", e(0.5, 0.51), "worse", "30 posts, but the gold score rises, "),
        ("better", e(-0.5, 0.51), "better", "30 posts, and the gold score agrees, "),
        ("undecided", e(0.5, 0.1), "undecided", "Between PPO and SFT the reward model is undecided"),
    ],
)  # fmt: skip
def test_a_mean_that_contradicts_the_win_rate_is_told(said, difference, tone, words):
    """A few posts may outweigh all others: say wrong facts that were mended."""
    found = verdict(run(said, 1.0, difference=difference))
    assert found["tone"] == tone
    assert words in found["sentence"].replace("\u00a0", " ")


@pytest.mark.parametrize("unknown", [None, float("nan"), "x"])
def test_what_is_not_known_is_not_said(unknown):
    found = verdict(run("undecided", None, win_rate=unknown, detectable=unknown, difference=unknown))
    assert found["sentence"] == "Between PPO and SFT the reward model is undecided."
    for said in ("much better", None, ["better"]):
        assert verdict(run(str(said), None))["sentence"] == "Nothing here has been evaluated yet."


def test_without_an_evaluation_it_says_what_training_shows():
    trained = Material("run", stages=[Stage("ppo", "ppo", {}, ppo_metrics())])
    assert verdict(trained) == {
        "tone": "open",
        "sentence": "While PPO trained, its reward went from −0.50 to +1.50; no evaluation says yet whether summaries "
        "improved.",
    }


def test_the_last_model_against_the_first_leads():
    content = evaluation()
    other = content["comparisons"][0] | {"first": "sft", "second": "label", "verdict": "worse", "difference": e(-1.2)}
    content["comparisons"].insert(0, other)
    assert verdict(Material("run", evaluation=content))["first"] == "ppo"
    content["comparisons"].pop()
    assert verdict(Material("run", evaluation=content))["sentence"].startswith("SFT is worse than the label")


def test_gold_is_paired_by_post():
    """Half of the posts have no gold of the first model; the others gain 2 on any level."""
    rows = [{"ppo": {"gold": None if i % 2 else i + 2}, "sft": {"gold": i}} for i in range(20)]
    assert gold_difference(rows, "ppo", "sft") == {"value": 2.0, "low": 2.0, "high": 2.0}
    assert gold_difference(rows[:1], "ppo", "sft") is None


def test_figures_as_they_are_written():
    assert [written(x) for x in (None, 3, 1204, 3.0, 26.414, 0.0000213)] == [
        "–",
        "3",
        "1,204",
        "3",
        "26.41",
        "2.13e−05",
    ]
    assert written(-0.5, "signed") == "−0.50"
    assert written(0.0714, "points") == "7"
    assert written(0.41234, "share") == "0.412"
    assert interval(e(0.5), "percent") == "40.0 to 60.0\u00a0%"
    assert interval({"value": 1.0, "low": None, "high": 2.0}) == ""
    assert with_interval(e(1.5), "signed") == "+1.50 (+1.40 to +1.60)"
    assert with_interval(None) == "–"
