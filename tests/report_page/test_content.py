"""What the plots and the browser of samples show."""

import numpy as np
import pytest
from report_runs import e, evaluation, ppo_metrics, samples

from summarize_rlhf.report_page.curves import MOST_POINTS, line, plane
from summarize_rlhf.report_page.material import Material, Stage
from summarize_rlhf.report_page.samples import EACH, browse, choose


def test_an_evaluation_lies_between_its_collections():
    """KL is 0, 1, 4 at steps 0, 10, 20: 2.5 at step 15, and 4 behind the last."""
    found = plane(Material("run", stages=[Stage("ppo", "ppo", {}, ppo_metrics())]))
    (run,) = found["runs"]
    assert run["evaluations"] == {"step": [0, 15, 30], "value": [-0.5, 0.5, 1.5], "kl": [0.0, 2.5, 4.0]}
    assert run["rollouts"] == {"step": [0, 10, 20], "value": [0, 0.5, 1.0], "kl": [0.0, 1.0, 4.0]}
    assert run["gold"]["value"] == [2.0, 3.0, 4.0]
    assert found["best_of_n"] is None


def test_best_of_n_is_less_the_labels_reward():
    """As PPO's rewards are, beside which it is drawn; without the label's it is not drawn."""
    found = plane(Material("run", evaluation=evaluation()))["best_of_n"]
    assert found["n"] == [1, 2, 4]
    assert found["reward"] == pytest.approx([0.5, 1.0, 1.5])  # 0, .5, 1 less −.5
    assert found["kl"] == pytest.approx([0, 0.4, 0.8])
    assert found["gold"] == [0, 1, 2]
    assert plane(Material("run", evaluation=evaluation(label={"reward": None}))) is None


def test_two_runs_are_two_paths():
    stages = [Stage("ppo", name, {}, ppo_metrics()) for name in ("ppo", "ppo_kl_0.01")]
    assert [run["name"] for run in plane(Material("run", stages=stages))["runs"]] == ["ppo", "ppo_kl_0.01"]


def test_a_line_holds_numbers_alone_and_its_end():
    rows = [{"step": i, "x": float(i)} for i in range(5000)]
    rows[3]["x"], rows[4]["x"] = float("nan"), "4"
    found = line(rows, "x")
    assert len(found["step"]) == MOST_POINTS
    assert found["step"][0] == 0
    assert found["step"][-1] == 4999
    assert found["step"] == found["value"]
    assert not {3, 4} & set(found["step"])
    assert line(rows, "y") is None
    assert line([{"x": 1.0}], "x") is None


def test_posts_of_each_view():
    """Post i gains i/10 − 1; its gold follows, but for posts 3 and 20, where it does the opposite."""
    rows = samples(gold=0.5)
    rows[3]["ppo"]["gold"], rows[20]["ppo"]["gold"] = 9.0, -9.0
    found = browse(Material("run", evaluation=evaluation(), samples=rows))
    by_view = {view: [row["post"] for row in found["rows"] if view in row["views"]] for view in found["views"]}
    assert sorted(by_view["best"]) == list(range(20, 30))
    assert sorted(by_view["worst"]) == list(range(10))
    assert {3, 20} <= set(by_view["parted"])
    assert len(by_view["random"]) == len(by_view["parted"]) == EACH
    assert sorted(row["post"] for row in found["rows"]) == list(range(30))  # each once
    assert [row["change"] for row in found["rows"] if row["post"] == 29] == pytest.approx([1.9])
    assert (found["first"], found["second"]) == ("ppo", "sft")


def test_random_posts_are_the_same_at_each_call():
    changes = list(np.arange(500.0))
    first, again = (choose(changes, [None] * 500) for _ in range(2))
    assert first == again
    assert first["parted"] == []
    assert first["random"] != list(range(EACH))


def test_a_judge_stands_in_for_gold():
    rows = samples()
    for row in rows:
        for model in ("sft", "ppo"):
            row[model]["judge"] = row[model].pop("gold")
    rows[11]["ppo"]["judge"] = 9.0
    found = browse(Material("run", evaluation=evaluation(), samples=rows))
    assert 11 in [row["post"] for row in found["rows"] if "parted" in row["views"]]


def test_posts_without_rewards_have_no_order_but_can_be_read():
    rows = [{"prompt": "p", "sft": {"text": "a"}, "ppo": {"text": "b", "reward": 1.0}} for _ in range(3)]
    found = browse(Material("run", samples=rows))
    assert list(found["views"]) == ["random"]
    assert found["rows"][0]["change"] is None
    assert browse(Material("run", evaluation={"models": {"sft": {"reward": e(1)}}})) is None
