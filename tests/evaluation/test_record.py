"""evaluation.json and evaluation.md from columns of figures, each figure computed again by hand."""

import json

import made_up_worlds as worlds
import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from summarize_rlhf import UserError
from summarize_rlhf.evaluation.gold import gold_values
from summarize_rlhf.evaluation.page import page, sentence, shown
from summarize_rlhf.evaluation.record import (
    LABEL,
    by_post,
    compare,
    comparisons,
    figures,
    label_figures,
    opponents,
    rouge_columns,
    text_columns,
)
from summarize_rlhf.rouge import ALL_KINDS, rouge_rows

BODIES = ["my cat is lost since monday and I cry", "the car broke down in the rain"]
LABELS = ["my cat is lost", "car broke\ndown"]


def test_rows_are_sample_by_sample():
    assert by_post([1, 2, 3, 10, 20, 30], 3).tolist() == [[1, 10], [2, 20], [3, 30]]


def test_rouge_is_rouge_scores_to_the_last_digit():
    texts = ["cat is lost since monday", "broke\nthe car in rain", "I cry", "car broke\ndown"]
    found = rouge_columns(texts, LABELS)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=False)
    for row, text in enumerate(texts):
        scores = scorer.score(target=LABELS[row % 2], prediction=text)
        for kind, score in scores.items():
            assert found[kind][row % 2, row // 2] == score.fmeasure
    assert found["rougeL"][1, 0] != found["rougeLsum"][1, 0]  # over lines


def test_the_average_is_of_three():
    row = rouge_rows(["broke\nthe car"], [LABELS[1]], ALL_KINDS)[0]
    assert row["rougeAvg"] == pytest.approx((row["rouge1"] + row["rouge2"] + row["rougeL"]) / 3)
    assert row["rougeLsum"] > 0


def test_texts_are_measured_against_their_own_posts():
    found = text_columns(["cat is lost since", "cat is lost since", "", "broke down in the"], BODIES)
    assert found["copied_4grams"].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert found["characters"].tolist() == [[17, 0], [17, 17]]


@pytest.fixture
def columns():
    """60 posts: sft, and ppo with rewards higher by about 1.5 and a little longer; two samples each."""
    rng = np.random.default_rng(0)

    def model(shift: float, length: float) -> dict[str, np.ndarray]:
        found = {kind: rng.random((60, 2)) for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum")}
        found |= {"repetition": rng.random((60, 2)), "copied_4grams": rng.random((60, 2))}
        return found | {
            "reward": rng.normal(shift, 1, (60, 2)),
            "characters": rng.normal(length, 10, (60, 2)),
            "tokens": rng.normal(length / 4, 3, (60, 2)),
            "ended": rng.integers(0, 2, (60, 2)),
        }

    label = {name: values[:, :1] for name, values in model(0.0, 100).items() if name not in ("ended", "repetition")}
    ppo = model(1.5, 104) | {"kl_to_first": rng.random((60, 2)), "kl_to_first_sampled": rng.random((60, 2))}
    return {"sft": model(0.0, 100), "ppo": ppo, LABEL: label}


def test_figures(columns):
    found = figures(columns["ppo"], columns[LABEL])
    assert found["reward"]["value"] == pytest.approx(columns["ppo"]["reward"].mean())
    expected = (columns["ppo"]["reward"] - columns[LABEL]["reward"]).mean()
    assert found["reward_over_label"]["value"] == pytest.approx(expected)
    assert found["eos_rate"]["value"] == pytest.approx(columns["ppo"]["ended"].mean())
    assert found["gold"] is None
    assert figures(columns["sft"], columns[LABEL])["kl_to_first"] is None
    assert set(label_figures(columns[LABEL])) == {"reward", "tokens", "copied_4grams", "gold"}


def test_who_is_compared_with_whom():
    assert opponents(["a"]) == [("a", LABEL)]
    expected = [("b", "a"), ("c", "a"), ("c", "b"), ("a", LABEL), ("b", LABEL), ("c", LABEL)]
    assert opponents(["a", "b", "c"]) == expected


def test_comparisons(columns):
    found = comparisons(columns)
    assert [(row["first"], row["second"]) for row in found] == [("ppo", "sft"), ("sft", LABEL), ("ppo", LABEL)]
    ours, theirs = columns["ppo"]["reward"], columns["sft"]["reward"]
    won = [(ours[i, k] > theirs[i, m]) for i in range(60) for k in (0, 1) for m in (0, 1)]
    assert found[0]["win_rate"]["value"] == pytest.approx(np.mean(won))
    assert found[0]["difference"]["value"] == pytest.approx(ours.mean() - theirs.mean())
    assert found[0]["verdict"] == "better"
    assert found[1]["verdict"] == "undecided"
    assert 0.1 < found[0]["detectable"] < 0.2
    # length explains nothing here
    assert found[0]["length_controlled"]["value"] == pytest.approx(found[0]["win_rate"]["value"], abs=0.08)


def test_all_summaries_ended_is_not_certain(columns):
    found = figures(columns["ppo"] | {"ended": np.ones((60, 2))}, columns[LABEL])["eos_rate"]
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert 0.9 < found["low"] < 1


def test_the_verdict_is_of_the_raw_win_rate():
    """Won on length alone: better, with a warning that says so."""
    won, longer = worlds.outcomes(np.random.default_rng(0), 400, 0.0, 2.0, 1.0)
    found = compare("a", "b", won, longer, None)
    assert found["length_controlled"]["low"] < 0.5
    assert found["verdict"] == "better"
    assert found["warning"].endswith("points")


def test_the_page_shows_every_figure_and_verdict(columns):
    label = columns[LABEL]
    models = {name: {"directory": name} | figures(columns[name], label) for name in ("sft", "ppo")}
    found = {"models": models, "label": label_figures(label), "comparisons": comparisons(columns)}
    found["comparisons"][0]["warning"] = "a warning"
    found["comparisons"][0]["length_controlled"] = {"value": 0.123, "low": 0.04, "high": 0.35}
    found["comparisons"][0]["difference"] = {"value": 4.567, "low": 3.0, "high": 5.0}
    best = {"model": "sft", "samples": 2, "posts": 3}
    best["curve"] = [{"n": 1, "kl_bound": 7.894, "reward": models["sft"]["reward"], "gold": models["sft"]["rouge1"]}]
    judge = {"name": "mine:judge", "kappa": models["sft"]["rouge2"], "pairs": 9, "consistent": 0.5}
    judge["comparisons"] = [found["comparisons"][1] | {"difference": None}]
    record = {"posts": 60, "seed": 1, "data": {"name": "tldr", "split": "test"}, "best_of_n": best, "judge": judge}
    text = page(json.loads(json.dumps(record | {"ways": {"sample": found}})))
    tables = ("## Sampled summaries", "| ROUGE-Lsum", "KL to the first model", "| ppo   | sft", "## Best of N of sft")
    for part in (*tables, "- ppo against sft: a warning", "## Judged by mine:judge", "with any other judge"):
        assert part in text
    for cell in ("| 12 % (4 to 35)", "| 4.567 (3.000 to 5.000)", "| 7.89 ", "the same answer in both: 50 %"):
        assert cell in text
    assert "| gold" not in text.split("## Best")[0]  # nobody knows it
    assert sentence(found["comparisons"][0]).startswith("ppo against sft: better. wins ")
    assert "at equal length 12 % (4 to 35); difference in reward 4.567 (3.000 to 5.000). 60 posts" in (
        sentence(found["comparisons"][0])
    )
    assert "against the human summary: undecided" in sentence(found["comparisons"][1])


def test_estimates_are_shown_with_their_intervals():
    estimate = {"value": 0.4312, "low": 0.4, "high": 0.46}
    assert shown(estimate) == "0.431 (0.400 to 0.460)"
    assert shown(estimate, percent=True) == "43 % (40 to 46)"
    assert shown({"value": 1.0, "low": None, "high": None}) == "1.000"
    assert shown(None) == ""


def test_gold_is_of_each_text_under_its_own_post():
    found = gold_values(
        "mine:gold", lambda prompt, text: len(prompt) * 10 + len(text), ["a", "bb"], ["", "x", "yy", "z"]
    )
    assert found == [10.0, 21.0, 12.0, 21.0]
    with pytest.raises(UserError, match="mine:gold failed: ZeroDivisionError"):
        gold_values("mine:gold", lambda *_: 1 / 0, ["a"], ["x"])
    with pytest.raises(UserError, match="mine:gold returned nan for 'x'"):
        gold_values("mine:gold", lambda *_: float("nan"), ["a"], ["x"])
