"""What a score may depend on: the text and the reward model, and not how it was computed."""

import random

import pytest
import torch
from tiny import gptj_config, make_model_dir, make_tokenizer, sentence

from reward_model.label_scores import label_scores
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer


@pytest.fixture
def tokenizer():
    return make_tokenizer(pad="<|pad|>")


@pytest.fixture
def model(tokenizer, tmp_path) -> RewardModel:
    """A reward model whose config asks for dropout."""
    config = gptj_config(len(tokenizer))
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.5
    model = RewardModel.from_causal_lm(make_model_dir(tmp_path / "model", config, tokenizer))
    torch.nn.init.normal_(model.v_head.weight)
    return model


@pytest.fixture
def texts() -> tuple[list[str], list[str]]:
    rng = random.Random(0)
    return [sentence(rng, rng.randint(5, 30)) for _ in range(9)], [sentence(rng, 4) for _ in range(9)]


def test_scores_have_no_dropout(model, tokenizer, texts):
    expected = Scorer(model.eval(), tokenizer, 100).score(*texts)
    model.train()
    torch.testing.assert_close(Scorer(model, tokenizer, 100).score(*texts), expected, rtol=0, atol=0)
    assert model.training


def test_a_forward_pass_holds_no_more_than_batch_tokens(model, tokenizer, texts):
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    Scorer(model, tokenizer, 100, batch_tokens=100).score(*texts)
    assert sum(rows for rows, _ in seen) == 9
    assert max(rows for rows, _ in seen) > 1
    assert all(rows * width <= 100 for rows, width in seen)


def judged(scorer, file) -> tuple[list[float], int]:
    """Scores of three references, and how many of them were computed."""
    counts = []
    original = scorer.score_ids
    scorer.score_ids = lambda ids, *rest: counts.append(len(ids)) or original(ids, *rest)
    scores = label_scores(scorer, ["my cat", "the boss", "my cat"], ["moved", "moved", "lost"], file)
    scorer.score_ids = original
    return scores, sum(counts)


def test_labels_are_known_by_post_and_summary(model, tokenizer, tmp_path):
    scorer = Scorer(model, tokenizer, 100)
    scores, computed = judged(scorer, tmp_path / "scores.json")
    assert computed == 3
    assert scores == pytest.approx(scorer.score(["my cat", "the boss", "my cat"], ["moved", "moved", "lost"]).tolist())


def test_labels_are_scored_anew_where_the_scorer_differs(model, tokenizer, tmp_path):
    file = tmp_path / "scores.json"
    assert judged(Scorer(model, tokenizer, 100), file)[1] == 3
    assert judged(Scorer(model, tokenizer, 100), file)[1] == 0
    assert judged(Scorer(model, tokenizer, 90), file)[1] == 3
    other = make_tokenizer(pad="<|pad|>")
    other.pad_token = other.eos_token
    assert judged(Scorer(model, other, 90), file)[1] == 3
