"""The embedded model: a small GPT-J that loads like any other, with a tokenizer that keeps the recipe's rules."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from quickstart import make_model
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
    published = make_model.published_bodies()
    reading = make_model.batches(tokenizer, seed=0)
    for _ in range(2 * make_model.BUCKET):
        for row in next(reading)[0]:
            thread = tokenizer.decode(row, skip_special_tokens=True)
            assert "\n".join(thread.split("\n")[:3]) not in published
            assert "TL;DR" not in thread


def test_texts_of_stage_1_and_answers_are_short(tokenizer):
    rows = [json.loads(line) for line in (make_model.DATA / "openai_summarize_tldr/train.jsonl").open(encoding="utf-8")]
    assert max(len(tokenizer(sft_text(row["prompt"], row["label"])).input_ids) for row in rows) < 220
    assert max(len(tokenizer(" " + row["label"]).input_ids) for row in rows) < 50
