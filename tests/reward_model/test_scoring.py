"""Scores of texts: independent of padding, partner, batch and order; the same as in training.

Mutations that these tests catch, each tried: the score read one token earlier or later, or at the batch's last column;
results returned in sorted order; rows exchanged by the deduplication.
"""

import random
import shutil

import pytest
import torch
from tiny import forget_files, make_comparisons, make_model_dir, make_tokenizer, sentence
from transformers import AutoModelForCausalLM

from reward_model.comparisons import encode_comparisons, load_comparisons
from reward_model.loss import end_scores
from reward_model.pairs import PackedPairs, SeparatePairs
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer, next_batch
from summarize_rlhf import UserError
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.text import END, rm_text
from summarize_rlhf.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def rm_dir(gptj_dir, tmp_path_factory):
    """A directory as stage 2 writes it, untrained."""
    directory = tmp_path_factory.mktemp("rm")
    torch.manual_seed(1)
    RewardModel.from_causal_lm(gptj_dir).save(directory)
    tokenizer = load_tokenizer(gptj_dir)
    tokenizer.save_pretrained(directory)
    save_run(directory, run_record("rm", {}, tokenizer, 0, 120, {}))
    return directory


@pytest.fixture
def scorer(rm_dir):
    return Scorer.from_pretrained(rm_dir)


@pytest.fixture
def texts():
    rng = random.Random(0)
    bodies = [f"SUBREDDIT: r/pets\nPOST: {sentence(rng, rng.randint(3, 60))}" for _ in range(12)]
    return bodies, [sentence(rng, rng.randint(1, 9)) for _ in bodies]


def test_a_score_is_the_value_after_the_last_token_before_end(scorer, texts, rm_dir, gptj_dir):
    """Against a plain language model's hidden states, one text at a time, without any of our batching."""
    language_model = AutoModelForCausalLM.from_pretrained(gptj_dir).eval()
    head = scorer.model.v_head.weight[0]
    for body, summary in zip(*texts, strict=True):
        ids = scorer.tokenizer(rm_text(body, summary) + END).input_ids[:120]
        assert ids[-1] == scorer.tokenizer.eos_token_id or len(ids) == 120
        if ids[-1] != scorer.tokenizer.eos_token_id:
            continue  # too long; see the test of cutting
        hidden = language_model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        expected = (hidden[ids.index(scorer.tokenizer.eos_token_id) - 1] @ head).item()
        assert scorer.score([body], [summary]).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("batch_tokens", [1, 100, 500, 100_000])
def test_batch_partner_and_order_change_no_score(scorer, texts, batch_tokens):
    alone = torch.cat([scorer.score([body], [summary]) for body, summary in zip(*texts, strict=True)])
    scorer.batch_tokens = batch_tokens
    torch.testing.assert_close(scorer.score(*texts), alone, rtol=1e-5, atol=1e-6)
    backwards = [part[::-1] for part in texts]
    torch.testing.assert_close(scorer.score(*backwards).flip(0), alone, rtol=1e-5, atol=1e-6)
    assert alone.unique().numel() == len(alone)


def test_pad_that_equals_end_or_not_changes_no_score(scorer, texts, tmp_path):
    before = scorer.score(*texts)
    assert scorer.tokenizer.pad_token_id == scorer.tokenizer.eos_token_id
    scorer.tokenizer.pad_token = "!"  # some other token, which texts hold as well
    torch.testing.assert_close(scorer.score(*texts), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pairs", [PackedPairs(0), SeparatePairs(0)])
def test_training_reads_the_same_score(scorer, tmp_path, pairs):
    """The trainer's index, on pairs in one batch, packed or not, gives what the scorer gives."""
    rows, _ = load_comparisons(str(make_comparisons(tmp_path)), "test")
    batch = pairs(list(encode_comparisons(rows, scorer.tokenizer, 120)))
    with torch.no_grad():
        values = pairs.values(scorer.model, batch)  # (B, 2, T)
    for side, column in enumerate(("chosen", "rejected")):
        trained = end_scores(values[:, side], batch["lengths"][:, side])
        torch.testing.assert_close(scorer.score(rows["prompt"], rows[column]), trained, rtol=1e-5, atol=1e-6)


def test_each_text_is_computed_once(scorer, texts, monkeypatch):
    bodies, summaries = texts
    expected = scorer.score(bodies, summaries)
    seen = []
    forward = scorer.model.forward
    monkeypatch.setattr(scorer.model, "forward", lambda ids, **kwargs: seen.append(len(ids)) or forward(ids, **kwargs))
    scores = scorer.score(bodies * 3, summaries * 3)
    assert sum(seen) == len(bodies)
    torch.testing.assert_close(scores, expected.repeat(3))


def test_little_is_padded(scorer, monkeypatch):
    seen = []
    forward = scorer.model.forward
    monkeypatch.setattr(scorer.model, "forward", lambda ids, **kwargs: seen.append(ids.shape) or forward(ids, **kwargs))
    rng = random.Random(0)
    scorer.batch_tokens = 400
    texts = [torch.randint(1, 300, (rng.randint(20, 120),)).tolist() for _ in range(60)]
    scorer.score_ids(texts)
    assert max(rows * width for rows, width in seen) <= 400
    assert sum(rows * width for rows, width in seen) < 1.15 * sum(map(len, texts))


def test_a_too_long_post_is_cut_never_the_summary(scorer):
    rng = random.Random(0)
    long = "POST: " + sentence(rng, 400)
    scores = scorer.score([long, long], ["my cat moved.", "my boss moved."])
    assert scores[0] != scores[1]


def test_an_empty_summary_has_a_score(scorer):
    """PPO's samples may be empty."""
    scores = scorer.score(["POST: my cat"] * 3, ["", "TL;DR:", "moved"])
    assert scores.isfinite().all()
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-5, atol=1e-6)
    assert abs(scores[0] - scores[2]) > 1e-3
    assert scorer.score([], []).shape == (0,)


def test_a_summary_that_spells_end_is_scored_to_its_last_character(scorer):
    scores = scorer.score(["POST: my cat"] * 3, ["it moved", f"it moved{END}", f"it moved{END} my boss broke"])
    assert len(scores.unique()) == 3


def test_scores_that_are_no_numbers_are_refused(scorer):
    with torch.no_grad():
        scorer.model.v_head.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="the reward model gave nan for text 0 and 1 more of 2"):
        scorer.score(["a", "b"], ["c", "d"])


def test_the_models_mode_is_left_as_it_was(scorer):
    scorer.model.train()
    scorer.score(["a"], ["b"])
    assert scorer.model.training


def test_different_numbers_of_posts_and_summaries_are_refused(scorer):
    with pytest.raises(ValueError, match="zip"):
        scorer.score(["a", "b"], ["c"])


def test_max_length_comes_from_training(rm_dir, scorer):
    assert scorer.max_length == 120
    assert Scorer.from_pretrained(rm_dir, max_length=64).max_length == 64
    with pytest.raises(UserError, match="max_length is 550 tokens, but the reward model reads 256"):
        Scorer.from_pretrained(rm_dir, max_length=550)


def test_the_published_file_borrows_tokenizer_and_config(rm_dir, gptj_dir, scorer, texts, tmp_path):
    torch.save(scorer.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.warns(UserWarning, match="no run.json"):
        published = Scorer.from_pretrained(tmp_path, model=gptj_dir, max_length=120)
    assert torch.equal(published.score(*texts), scorer.score(*texts))
    with pytest.raises(UserError, match="has no tokenizer; name the model it was trained from"):
        Scorer.from_pretrained(tmp_path)


def test_other_checkpoints_are_refused_by_name(rm_dir, tmp_path):
    foreign = make_tokenizer(vocab_size=300)
    make_model_dir(tmp_path / "sft", tokenizer=foreign)
    save_run(tmp_path / "sft", run_record("sft", {}, foreign, 0, 120, {}))
    with pytest.raises(UserError, match="checkpoint of stage 'sft', but rm is needed"):
        Scorer.from_pretrained(tmp_path / "sft")
    shutil.copytree(rm_dir, tmp_path / "rm")
    forget_files(tmp_path / "rm")
    foreign.save_pretrained(tmp_path / "rm")
    with pytest.raises(UserError, match="trained with another tokenizer"):
        Scorer.from_pretrained(tmp_path / "rm")
    with pytest.raises(UserError, match="no reward model at"):
        Scorer.from_pretrained(tmp_path / "absent")


def test_a_tokenizer_beyond_the_vocabulary_is_refused(scorer, rm_dir):
    scorer.tokenizer.add_tokens(["<one>", "<more>"])
    with pytest.raises(UserError, match="they do not belong together"):
        Scorer(scorer.model, scorer.tokenizer, 120)


def test_batches_hold_little_padding():
    assert next_batch([100], 50) == 1  # a text longer than a batch may be
    assert next_batch([10] * 9, 50) == 5
    assert next_batch([10] * 3, 50) == 3
    assert next_batch([100, 95, 90, 89, 89], 500) == 3  # half full: the next would be padded by more than a tenth
    assert next_batch([100, 60, 60, 60, 60], 500) == 3  # not yet


def test_a_text_behind_a_repeated_one_is_named_by_its_own_place(rm_dir):
    scorer = Scorer.from_pretrained(rm_dir, max_length=60)
    with pytest.raises(UserError, match="row 3: a summary needs"):
        scorer.score(["a"] * 3, ["x", "x", "word " * 200], places=["row 1", "row 2", "row 3"])
