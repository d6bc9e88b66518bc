"""Stage 3 reads the card: told, warned, or refused in one line; without a card it goes on."""

import json
import random
from pathlib import Path

import pytest
import torch
from tiny import comparison_row, write_rows

from reward_model import gptj_reward_test
from reward_model.card_check import card_lines, read_card
from reward_model.reward_model import RewardModel
from summarize_rlhf import UserError
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.tokenizer import load_tokenizer

CARD = {
    "pairs": 300,
    "accuracy": {"value": 0.7, "low": 0.65, "high": 0.75},
    "paragraph": "It rewards length.",
    "probes": {
        "plea": {"description": "a plea", "posts": 60, "beats_label": 0.83, "mean_difference": 0.5},
        "empty": {"description": "nothing", "posts": 60, "beats_label": 0.5, "mean_difference": -2.0},
    },
    "weights": {"model.safetensors": "abc"},
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A reward model's directory as far as the card goes."""
    (tmp_path / "run.json").write_text(json.dumps({"files": {"model.safetensors": {"bytes": 3, "sha256": "abc"}}}))
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    return tmp_path


def test_paragraph_and_a_warning_for_each_probe_that_beats_people(folder):
    told = [
        "It rewards length.",
        "warning: the reward model scores a plea higher than the human summary in 83 % of 60 ",
    ]
    told[1] += "posts: expect the policy to find that"
    assert card_lines(folder) == card_lines(folder, 0.7) == told
    assert card_lines(folder / "model.safetensors") == told  # a file names its folder's card


def test_too_low_an_accuracy_is_refused(folder):
    with pytest.raises(UserError, match=r"accuracy 0\.700 on 300 pairs, but task\.require_rm asks for 0\.71"):
        card_lines(folder, 0.71)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / "card.json").unlink(), "has no card.json"),
        (lambda folder: (folder / "card.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "card.json").write_text("[1]"), "cannot be read"),
        (lambda folder: (folder / "card.json").write_bytes(b"\xff"), "cannot be read"),
        (lambda folder: (folder / "card.json").write_text("[" * 100_000), "cannot be read"),
        (lambda folder: (folder / "card.json").write_text(json.dumps(CARD | {"accuracy": {"value": 70}})), "cannot be"),
        (
            lambda folder: (folder / "card.json").write_text(json.dumps(CARD | {"accuracy": {"value": "0.9"}})),
            "accuracy is '0.9'",
        ),
        (
            lambda folder: (folder / "card.json").write_text(json.dumps(CARD | {"paragraph": 5})),
            "paragraph is no text",
        ),
        (lambda folder: (folder / "card.json").write_text(json.dumps(CARD | {"probes": {"a": {}}})), "cannot be read"),
        (
            lambda folder: (folder / "card.json").write_text(
                json.dumps(CARD | {"weights": {"model.safetensors": "abd"}})
            ),
            "another reward model",
        ),
        (lambda folder: (folder / "run.json").unlink(), "another reward model"),
        (lambda folder: (folder / "run.json").write_text("{"), "cannot be read"),
    ],
)
def test_no_card_is_one_line_unless_an_accuracy_is_asked_for(folder, spoil, why):
    spoil(folder)
    assert read_card(folder)[0] is None
    (line,) = card_lines(folder)
    assert line.startswith("what this reward model rewards is not known: ")
    assert why in line
    assert f"gptj_reward_test.py --reward_model {folder} writes its card" in line
    with pytest.raises(UserError, match="task.require_rm is 0.5, but .*" + why):
        card_lines(folder, 0.5)


@pytest.fixture
def reward_model(gptj_dir, tmp_path) -> Path:
    torch.manual_seed(1)
    (tmp_path / "rm").mkdir()
    RewardModel.from_causal_lm(gptj_dir).save(tmp_path / "rm")
    load_tokenizer(gptj_dir).save_pretrained(tmp_path / "rm")
    save_run(tmp_path / "rm", run_record("rm", {}, load_tokenizer(gptj_dir), 0, 150, {}))
    return tmp_path / "rm"


def test_the_reward_test_writes_the_card_that_stage_3_reads(reward_model, gptj_dir, tmp_path, monkeypatch, capsys):
    """With the data's own splits, a ceiling, and a policy; the directory's record still fits its files."""
    rng = random.Random(0)
    write_rows(tmp_path / "pairs.jsonl", [comparison_row(rng) | {"split": f"valid{i % 2}"} for i in range(8)])
    argv = ["--reward_model", reward_model, "--dataset", tmp_path / "pairs.jsonl", "--output_dir", tmp_path / "out"]
    argv += ["--ceiling", 0.9, "--policy", gptj_dir, "--policy_posts", 3, "--policy_samples", 2, "--policy_tokens", 8]
    monkeypatch.setattr("sys.argv", ["gptj_reward_test.py", *map(str, argv)])
    gptj_reward_test.main()
    card, why = read_card(reward_model)
    assert why == ""
    assert card_lines(reward_model)[0] in capsys.readouterr().out
    assert (list(card["by_split"]), card["ceiling"], card["pairs"]) == (["valid0", "valid1"], 0.9, 8)
    assert card["within_post_spread"] > 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"reward_test.csv", "reward_test.json"}
    result = json.loads((tmp_path / "out/reward_test.json").read_text())
    assert card["accuracy"]["value"] == result["accuracy"]
    monkeypatch.setattr("sys.argv", ["gptj_reward_test.py", *map(str, argv[:6]), "--card_dir", str(tmp_path / "card")])
    (reward_model / "card.json").unlink()
    gptj_reward_test.main()
    assert not (reward_model / "card.json").exists()
    assert json.loads((tmp_path / "card/card.json").read_text())["within_post_spread"] is None
