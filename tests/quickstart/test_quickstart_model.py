"""The embedded model: a small GPT-J that loads like any other, with a tokenizer that keeps the recipe's rules."""

import json
import random
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from quickstart import make_model, pretrain
from quickstart.make_data import new_post
from quickstart.posts import Post
from quickstart.reading import find_values
from quickstart.retelling import READ, write_list, write_thread
from quickstart.vocabulary import VALUES
from summarize_rlhf.text import sft_text

MODEL = Path(make_model.__file__).parent / "model"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


def test_the_directory_is_small_and_whole():
    files = {path.name for path in MODEL.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "PROVENANCE.md"} <= files
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 10e6


def test_the_model_loads_whole_and_in_fp32():
    model, info = AutoModelForCausalLM.from_pretrained(MODEL, output_loading_info=True)
    assert not any(info.values()), info
    assert model.config.model_type == "gptj"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_end_of_text_is_the_only_special_token(tokenizer):
    assert tokenizer.is_fast
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == tokenizer.bos_token_id
    assert tokenizer("a<|endoftext|>").input_ids[-1] == tokenizer.eos_token_id
    assert len(tokenizer("<|startoftext|>").input_ids) > 1
    assert len(tokenizer) == AutoModelForCausalLM.from_pretrained(MODEL).config.vocab_size


def test_any_text_survives_the_tokenizer(tokenizer):
    for text in ("  two blanks\n\n, a café, 日本 & <|startoftext|> don't\ttab", "TL;DR: My mechanic wants $1,450."):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_tokenizer_is_reproduced(tokenizer):
    assert make_model.make_tokenizer(seed=0).get_vocab() == tokenizer.get_vocab()


def test_the_model_has_read_no_post_of_the_data_set(tokenizer):
    """The first batches of its reading, against all posts; what it reads has no summary either."""
    published = pretrain.published_bodies()
    assert len(published) == 2400 + 200 + 200 + 6400 + 600 + 600
    reading = pretrain.batches(tokenizer, 0, pretrain.PHASES[-1])
    for _ in range(pretrain.BUCKET):
        for row in next(reading)[0]:
            thread = tokenizer.decode(row, skip_special_tokens=True)
            assert "\n".join(thread.split("\n")[:3]) not in published
            assert "TL;DR" not in thread


def thread(seed: int) -> tuple[Post, list[tuple[str, float]]]:
    rng = random.Random(seed)
    post = new_post(rng, set())
    return post, write_thread(rng, post)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_asked_below_a_post_is_answered_by_its_facts(seed):
    post, pieces = thread(seed)
    text = "".join(piece for piece, _ in pieces)
    assert text.startswith(post.body)
    notes = next(line for line in text.split("\n") if line.startswith("NOTES:")).removeprefix("NOTES: ")
    told = dict(item.split(" ", 1) for item in notes.split(", "))
    by = told.pop("by")
    assert by == ("you" if post.facts.voice == "self" else post.facts.who)
    assert told == {kind: getattr(post.facts, kind) for kind in told}
    checks = next(line for line in text.split("\n") if line.startswith("CHECK:")).removeprefix("CHECK: ")
    true = {getattr(post.facts, kind) for kind in told}
    for item in checks.split(", "):
        value, verdict = item.split(" ")
        assert verdict == ("yes" if value in true else "no")
    claims = [line for line in text.split("\n") if line.startswith("CLAIM:")]
    assert claims
    for claim in claims:
        doer = "self" if re.search(rf"\byou (who )?({'|'.join(VALUES['deed'])})\b", claim) else "other"
        right = doer == post.facts.voice
        right &= all(getattr(post.facts, kind).lower() == value for kind, value in find_values(claim))
        assert claim.endswith(" yes" if right else " no"), (claim, post.facts)
    reply = next(line for line in text.split("\n") if line.startswith("REPLY:"))
    assert all(getattr(post.facts, kind).lower() == value for kind, value in find_values(reply))
    assert ("you " + post.facts.deed in reply or "you who" in reply) == (post.facts.voice == "self")


def test_half_of_what_is_judged_is_true_and_all_of_it_weighs(tokenizer):
    verdicts = [piece for seed in range(200) for piece in thread(seed)[1] if piece[0] in (" yes", " no")]
    assert {weight for _, weight in verdicts} == {READ}
    assert sum(text == " yes" for text, _ in verdicts) / len(verdicts) == pytest.approx(0.5, abs=0.05)


def test_pieces_are_tokens_of_the_whole_text(tokenizer):
    rng = random.Random("pieces")
    for pieces in [write_list(rng) for _ in range(50)] + [thread(seed)[1] for seed in range(50)]:
        tokens, weights = pretrain.encode(tokenizer, pieces)
        assert tokens == tokenizer("".join(text for text, _ in pieces) + make_model.END).input_ids
        assert len(weights) == len(tokens)


def test_every_fact_is_one_word_of_the_tokenizer(tokenizer):
    """So that a summary tells a fact, or gets it wrong, in one step of the policy."""
    for values in VALUES.values():
        for value in values:
            assert len(tokenizer(f" {value}").input_ids) == (2 if value[0] == "$" else 1)


def test_the_model_begins_by_looking_for_its_like(tokenizer):
    """Before it has read anything, half of the heads attend most to an earlier place of the same word."""
    config = AutoModelForCausalLM.from_pretrained(MODEL).config
    model = pretrain.new_model(tokenizer, seed=0)
    assert model.config.n_embd == config.n_embd
    assert torch.equal(model.lm_head.weight, model.transformer.wte.weight)
    for block in model.transformer.h[1:]:
        half = config.n_embd // 2
        query, key, value, out = (getattr(block.attn, f"{name}_proj").weight for name in ("q", "k", "v", "out"))
        assert torch.equal(query[:half], key[:half])
        assert not torch.equal(query[half:], key[half:])
        assert torch.equal(out[:, half:], value[half:].T)
        assert query[:half].std().item() == pytest.approx(pretrain.STRONG * query[half:].std().item(), rel=0.1)


def test_the_loss_weighs_what_has_to_be_read(tokenizer):
    """Against a loop over tokens; and the share of right answers counts those of the weight `READ` alone."""
    model = pretrain.new_model(tokenizer, seed=0)
    ids = torch.tensor([[5, 6, 7, 8, 9], [4, 3, 2, 0, 0]])
    weights = torch.tensor([[0.3, 0.0, READ, 0.5, READ], [0.3, READ, 0.3, 0.0, 0.0]])
    logits = model(input_ids=ids).logits.log_softmax(-1)
    total = loss = hits = asked = 0.0
    for row in range(2):
        for place in range(1, 5):
            weight, token = weights[row, place].item(), ids[row, place].item()
            loss -= weight * logits[row, place - 1, token].item()
            total += weight
            asked += weight == READ
            hits += weight == READ and logits[row, place - 1].argmax().item() == token
    found, right = pretrain.read(model, ids, weights)
    assert found.item() == pytest.approx(loss / total, rel=1e-5)
    assert right == pytest.approx(hits / asked)


def test_texts_of_stage_1_and_answers_are_short(tokenizer):
    rows = [json.loads(line) for line in (pretrain.DATA / "openai_summarize_tldr/train.jsonl").open(encoding="utf-8")]
    assert max(len(tokenizer(sft_text(row["prompt"], row["label"])).input_ids) for row in rows) < 200
    assert max(len(tokenizer(" " + row["label"]).input_ids) for row in rows) < 50
