"""The example of random walks: its graph and reward by hand, and a short run of its script."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples/randomwalks"))
import ppo_randomwalks
from randomwalks import GOAL, RandomGraph


def test_graph_follows_from_its_seed() -> None:
    a, b, c = RandomGraph(seed=1), RandomGraph(seed=1), RandomGraph(seed=2)
    assert a.edges == b.edges != c.edges
    assert [a.walk(9) for _ in range(5)] == [b.walk(9) for _ in range(5)]
    assert all(1 <= len(a.edges[node]) <= 4 and node not in a.edges[node] for node in a.starts)


def test_distances_are_the_shortest() -> None:
    """Each is one more than the least of where its edges lead (Bellman's equation, which has one solution here)."""
    graph = RandomGraph(seed=3)
    assert graph.distance[GOAL] == 0
    for node in graph.starts:
        assert graph.distance[node] == 1 + min(graph.distance[onward] for onward in graph.edges[node])


def test_walks_arrive() -> None:
    graph = RandomGraph(seed=3)
    for _ in range(200):
        walk = graph.walk(9)
        assert walk[-1] == GOAL
        assert len(walk) <= 10
        assert 0 < graph.optimality(walk) <= 1


def test_optimality_by_hand() -> None:
    graph = RandomGraph()
    graph.edges = {"a": [], "b": ["a", "c"], "c": ["d"], "d": ["a", "b"]}
    graph.distance = {"a": 0, "b": 1, "c": 2, "d": 1}
    assert graph.optimality("ba") == 1.0
    assert graph.optimality("bcda") == pytest.approx(1 / 3)
    assert graph.optimality("cda") == 1.0
    assert [graph.optimality(walk) for walk in ("bc", "bda", "bab", "b", "", "b?", "a", "aa")] == [0.0] * 8


def test_letters_are_tokens() -> None:
    tokenizer = ppo_randomwalks.make_tokenizer("abcd")
    assert tokenizer("dcba").input_ids == [4, 3, 2, 1]
    assert tokenizer.decode([4, 3, 0], skip_special_tokens=True) == "dc"


def test_script_climbs(tmp_path, monkeypatch) -> None:
    """A fifth of the full run, from about .7 to at least .85."""
    values = {"train.checkpoint_dir": str(tmp_path), "train.seed": 1, "train.epochs": 4, "train.eval_interval": 100}
    monkeypatch.setattr(sys, "argv", ["ppo_randomwalks.py", json.dumps(values)])
    ppo_randomwalks.main()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    optimality = [line["metrics/optimality"] for line in lines if "metrics/optimality" in line]
    assert 0.65 < optimality[0] < 0.8
    assert optimality[-1] >= 0.85
