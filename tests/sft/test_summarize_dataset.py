"""What stage 1 supervises: texts, their labels, where they are cut, and padding that is no EOS."""

import pytest
from tiny import write_rows

from sft.loss import IGNORED
from sft.summarize_dataset import PadRight, TLDRDataset
from summarize_rlhf import UserError
from summarize_rlhf.data import load_rows
from summarize_rlhf.text import sft_text


@pytest.fixture
def rows(tldr_dir):
    return load_rows(tldr_dir, "train", ["prompt", "label"])


def test_the_text_is_prompt_space_label_and_eos(rows, tokenizer):
    item = TLDRDataset(rows, tokenizer)[0]
    assert item["input_ids"][-1] == tokenizer.eos_token_id
    assert tokenizer.decode(item["input_ids"][:-1]) == sft_text(rows[0]["prompt"], rows[0]["label"])
    # Published: the prompt is supervised too, and so is the EOS. Nothing predicts the first token.
    assert item["labels"] == [IGNORED, *item["input_ids"][1:]]


def test_on_the_summary_alone_its_first_token_and_the_eos_are_supervised(rows, tokenizer):
    item = TLDRDataset(rows, tokenizer, loss_on="summary")[0]
    supervised = [token for token in item["labels"] if token != IGNORED]
    assert tokenizer.decode(supervised) == " " + rows[0]["label"] + "<|endoftext|>"
    assert item["labels"][-len(supervised) :] == item["input_ids"][-len(supervised) :]


def test_a_long_post_is_cut_and_the_summary_kept(rows, tokenizer):
    whole = TLDRDataset(rows, tokenizer).lengths[0]
    short = TLDRDataset(rows, tokenizer, max_length=whole - 10, loss_on="summary")
    ids = short[0]["input_ids"]
    start = short[0]["labels"].count(IGNORED)
    assert len(ids) == short.lengths[0] == whole - 10
    text = tokenizer.decode(ids)
    assert text.endswith(f"\nTL;DR: {rows[0]['label']}<|endoftext|>")
    assert tokenizer.decode(ids[start:]) == f" {rows[0]['label']}<|endoftext|>"
    assert rows[0]["prompt"].startswith(text[: text.index("\nTL;DR:")])


def test_rows_are_tokenized_once(rows, tokenizer, monkeypatch):
    """A later start, or another process of the machine, reads what the first has made; other settings do not."""
    first = TLDRDataset(rows, tokenizer, max_length=90)
    monkeypatch.setattr("sft.summarize_dataset.encode", None)
    again = TLDRDataset(rows, tokenizer, max_length=90, loss_on="summary")
    assert [row["input_ids"] for row in again] == [row["input_ids"] for row in first]
    with pytest.raises(TypeError):
        TLDRDataset(rows, tokenizer, max_length=91)


def test_bad_rows_are_named(tmp_path, rows, tokenizer):
    with pytest.raises(UserError, match=r"train\.jsonl, row 1: a summary needs \d+ tokens .* but 9 are allowed"):
        TLDRDataset(rows, tokenizer, max_length=10)
    write_rows(tmp_path / "train.jsonl", [rows[0], {"prompt": "POST: no marker", "label": "x"}])
    with pytest.raises(UserError, match=r"train\.jsonl, row 2: the prompt should end with 'TL;DR:'"):
        TLDRDataset(load_rows(tmp_path, "train", ["prompt", "label"]), tokenizer)
    with pytest.raises(UserError, match="loss_on is one of text, summary"):
        TLDRDataset(rows, tokenizer, loss_on="words")


def test_padding_is_masked_by_length_though_pad_is_eos(tokenizer):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 0
    batch = PadRight(0)([{"input_ids": [5, 6, 0], "labels": [5, 6, 0]}, {"input_ids": [7, 0], "labels": [IGNORED, 0]}])
    assert batch["input_ids"].tolist() == [[5, 6, 0], [7, 0, 0]]
    assert batch["labels"].tolist() == [[5, 6, 0], [IGNORED, 0, IGNORED]]
    assert batch["keep_from"] == 0
    rows = [{"input_ids": [1] * 9, "labels": [IGNORED] * n + [1] * (9 - n)} for n in (5, 4, 8)]
    assert PadRight(0)(rows)["keep_from"] == 3  # predicts the first supervised token of all


def test_the_share_of_posts_that_lost_their_end(tokenizer, tldr_dir):
    rows = load_rows(tldr_dir, "valid", ["prompt", "label"])
    lengths = TLDRDataset(rows, tokenizer, 10**4).lengths
    assert TLDRDataset(rows, tokenizer, max(lengths)).share_cut() == 0
    half = sorted(lengths)[7]
    assert TLDRDataset(rows, tokenizer, half).share_cut() == sum(x > half for x in lengths) / 16
