"""Labels are scored once, by what they are and by which reward model; the file outlives the run."""

import json

import pytest
import torch
from tiny import make_tokenizer

from reward_model.label_scores import label_scores
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from summarize_rlhf.run.kept import read_value, record_of

BODIES, LABELS = ["my cat moved", "the boss lost", "my cat moved"], ["cat", "money", "boss"]


@pytest.fixture
def scorer(gptj_dir) -> Scorer:
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    model = RewardModel.from_causal_lm(gptj_dir).eval()
    torch.nn.init.normal_(model.v_head.weight)
    return Scorer(model, tokenizer, 100)


@pytest.fixture
def texts(scorer, monkeypatch) -> list[int]:
    """How many texts each call of the reward model had."""
    counts = []
    original = scorer.score_ids
    monkeypatch.setattr(scorer, "score_ids", lambda ids, *rest: counts.append(len(ids)) or original(ids, *rest))
    return counts


def test_scores_are_the_scorers_and_the_second_start_computes_none(scorer, texts, tmp_path):
    expected = scorer.score(BODIES, LABELS)
    texts.clear()
    file = tmp_path / "run" / "scores.json"
    first = label_scores(scorer, BODIES, LABELS, file)
    torch.testing.assert_close(torch.tensor(first), expected)
    assert label_scores(scorer, BODIES, LABELS, file) == first  # to the bit
    assert texts == [3]
    more = label_scores(scorer, [*BODIES, "so"], [*LABELS, "today"], file)
    assert more[:3] == first
    assert texts == [3, 1]
    assert [path.name for path in file.parent.iterdir()] == ["scores.json.kept.json"]


def test_another_reward_model_scores_anew(scorer, texts, tmp_path):
    file = tmp_path / "scores.json"
    first = label_scores(scorer, BODIES, LABELS, file)
    with torch.no_grad():
        scorer.model.v_head.weight.mul_(2)
    second = label_scores(scorer, BODIES, LABELS, file)
    assert second == pytest.approx([2 * score for score in first])
    assert texts == [3, 3]


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"scores": {}}), '{"reward_model": 1}'])
def test_a_damaged_file_is_written_anew(scorer, tmp_path, content):
    file = tmp_path / "scores.json"
    record_of(file).write_text(content)
    scores = label_scores(scorer, BODIES, LABELS, file)
    assert sorted(read_value(file)["scores"].values()) == sorted(scores)
