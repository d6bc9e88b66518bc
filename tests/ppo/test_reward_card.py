"""Stage 3 and the card of its reward model: refused before a weight is read."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def reward_model(tmp_path) -> Path:
    """A card beside weights that nobody could read."""
    folder = tmp_path / "rm"
    folder.mkdir()
    (folder / "model.safetensors").write_text("no weights")
    estimate = {"value": 0.61, "low": 0.55, "high": 0.67}
    plea = {"description": "a plea", "posts": 60, "beats_label": 0.83, "mean_difference": 0.5}
    card = {
        "pairs": 300,
        "accuracy": estimate,
        "paragraph": "It rewards pleas.",
        "probes": {"plea": plea},
        "weights": {},
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def start(server, gptj_dir, reward_model: Path, tldr_dir, tmp_path, **task):
    values = {"model.model_path": str(gptj_dir), "task.reward_model": str(reward_model), "task.dataset": str(tldr_dir)}
    values |= {"train.checkpoint_dir": str(tmp_path / "out"), "train.tracker": None, "train.seq_length": 120}
    values |= {f"task.{name}": value for name, value in task.items()}
    return server.run("ppo", [json.dumps(values)], tmp_path)


def test_too_low_an_accuracy_is_refused_before_weights_are_read(server, gptj_dir, reward_model, tldr_dir, tmp_path):
    ended = start(server, gptj_dir, reward_model, tldr_dir, tmp_path, require_rm=0.7)
    assert ended.code == 2
    assert "accuracy 0.610 on 300 pairs, but task.require_rm asks for 0.7" in ended.error
    assert not (tmp_path / "out").exists()
    ended = start(server, gptj_dir, reward_model, tldr_dir, tmp_path, require_rm=0.6)
    assert ended.out.splitlines()[:1] == ["It rewards pleas."]
    assert "warning: the reward model scores a plea higher" in ended.out
    assert "task.require_rm" not in ended.error  # now it is the weights


def test_an_accuracy_is_a_share(server, gptj_dir, reward_model, tldr_dir, tmp_path):
    ended = start(server, gptj_dir, reward_model, tldr_dir, tmp_path, require_rm=70)
    assert "task.require_rm is 70.0: it should be at most 1" in ended.error or "is 70: it should" in ended.error
