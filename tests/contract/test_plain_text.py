"""Text is text: what a post, a title or a summary spells never becomes a control token, and TL;DR: stands once.

A tokenizer that cannot keep them apart has its rows refused, in every stage under the same "file, row".
"""

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import gpt2_config, make_model_dir, make_tokenizer, write_rows
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from reward_model.comparisons import encode_comparisons, load_comparisons
from reward_model.encoding import encode
from reward_model.label_scores import label_scores
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from sft.summarize_dataset import TLDRDataset
from summarize_rlhf import UserError
from summarize_rlhf.data import load_rows
from summarize_rlhf.lm.end_of_response import cut_at_stop
from summarize_rlhf.text import END, START, cut_prompts, prompt_text, rm_text, sft_text
from summarize_rlhf.tokenizer import control_ids, load_tokenizer, token_ids
from trlx_gptj_text_summarization import make_prompts

BODY = "SUBREDDIT: r/pets\nTITLE: My {}cat\nPOST: my cat{} moved {} today and found my boss again"
SUMMARY = "my cat {}moved to the house{}"
CONTROL = ["<|endoftext|>", "<pad>", "<|im_start|>", "</s>"]


def with_control_tokens() -> PreTrainedTokenizerFast:
    """A byte-level BPE with EOS, a pad of its own and declared special tokens, one that takes the blank before it."""
    made = make_tokenizer(pad="<pad>")
    made.add_special_tokens({"extra_special_tokens": ["<|im_start|>", AddedToken("</s>", lstrip=True)]})
    made.add_tokens(["<|extratoken_1|>"])  # plain vocabulary, as GPT-J has it
    return made


def unigram() -> PreTrainedTokenizerFast:
    """One whose model has the control tokens among its pieces, as T5's: it reads `</s>` as the token, come what may."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    special = {"special_tokens": ["</s>", "<unk>"], "unk_token": "<unk>"}
    alphabet = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:;/<>|.0123456789\n▁")
    trainer = trainers.UnigramTrainer(vocab_size=120, initial_alphabet=alphabet, show_progress=False, **special)
    backend.train_from_iterator([BODY, SUMMARY, "TL;DR:"] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", pad_token="</s>")


TOKENIZER = with_control_tokens()


@pytest.fixture(params=[with_control_tokens, unigram])
def model(request, tmp_path) -> str:
    tokenizer = request.param()
    return str(make_model_dir(tmp_path / "model", gpt2_config(len(tokenizer)), tokenizer))


def tldr(body: str, summary: str = SUMMARY) -> dict[str, str]:
    return {"prompt": prompt_text(body), "label": summary}


def stages(folder, tokenizer, model) -> dict:
    """How each stage reads `folder`, by name: its ids, or the error it ends with."""

    def sft():
        return [row["input_ids"] for row in TLDRDataset(load_rows(folder, "train", ["prompt", "label"]), tokenizer)]

    def rm():
        rows, _ = load_comparisons(str(folder / "pairs.jsonl"), "train")
        return encode_comparisons(rows, tokenizer, 250, show_progress=False)["chosen_ids"][:]

    def ppo():
        prompts = make_prompts(str(folder), "train", None, tokenizer, 200)
        rows = [[row[name] for row in prompts] for name in ("body", "label", "place")]
        scorer = Scorer(RewardModel.from_causal_lm(model), tokenizer, 250)
        label_scores(scorer, *rows[:2], folder / "scores.json", None, rows[2])
        return [row["input_ids"] for row in prompts]

    read = {}
    for stage in (sft, rm, ppo):
        try:
            read[stage.__name__] = stage()
        except UserError as error:
            read[stage.__name__] = str(error)
    return read


@pytest.mark.parametrize("where", ["post", "title", "end of post", "summary", "end of summary"])
def test_a_row_that_spells_control_tokens(where, model, tmp_path):
    """Read as characters, or refused under one name, though a blank line, an equal pair and a short one precede it."""
    tokenizer = load_tokenizer(model)
    held = "</s>"
    slots = {name: held if name == where else "" for name in ("title", "end of post", "post")}
    body = BODY.format(*slots.values())
    summary = SUMMARY.format(*(held if name == where else "" for name in ("summary", "end of summary")))
    fine = BODY.format("", "", "")
    lines = [tldr(fine, "a cat"), None, tldr(fine, "a boss"), tldr(body, summary)]
    (tmp_path / "train.jsonl").write_text("".join("\n" if row is None else json.dumps(row) + "\n" for row in lines))
    good = {"prompt": fine, "chosen": "my cat moved to the house", "rejected": "my boss found my cat again"}
    pairs = [good | {"rejected": good["chosen"]}, None, good | {"chosen": "short"}]
    pairs.append(good | {"prompt": body, "chosen": f"TL;DR: {summary}"})
    (tmp_path / "pairs.jsonl").write_text("".join("\n" if row is None else json.dumps(row) + "\n" for row in pairs))
    read = stages(tmp_path, tokenizer, model)
    if tokenizer.unk_token == "<unk>":
        for stage, file in (("sft", "train"), ("rm", "pairs"), ("ppo", "train")):
            assert re.search(rf"{file}\.jsonl, row 4: the text holds '</s>'", read[stage]), (stage, read[stage])
        return
    control = control_ids(tokenizer)
    assert tokenizer.decode(read["sft"][-1]) == sft_text(body, summary) + tokenizer.eos_token
    assert tokenizer.decode(read["rm"][-1]) == rm_text(body, summary)
    assert tokenizer.decode(read["ppo"][-1]) == prompt_text(body)
    assert control.isdisjoint(read["sft"][-1][:-1] + read["rm"][-1] + read["ppo"][-1])
    assert read["sft"][-1][: len(read["ppo"][-1])] == read["ppo"][-1]


def test_posts_that_spell_eos_do_not_all_score_alike(tmp_path):
    """Read up to the first EOS, every text of a pair would be the same, its loss 0 and its accuracy 0."""
    tokenizer = with_control_tokens()
    model = make_model_dir(tmp_path, gpt2_config(len(tokenizer)), tokenizer)
    for held in CONTROL:
        body = BODY.format("", held, held)
        chosen, rejected = encode(
            tokenizer, [body], [("TL;DR: my cat moved again today", "TL;DR: my boss found it")], 250
        )[0]
        assert chosen != rejected
        scorer = Scorer(RewardModel.from_causal_lm(model), tokenizer, 250)
        torch.nn.init.normal_(scorer.model.v_head.weight)
        assert len(scorer.score([body] * 3, ["my cat", "my boss", f"my cat{held}"]).unique()) == 3


def test_what_a_model_wrote_is_scored_whatever_it_spells(tmp_path):
    """A sample is no row that one could mend: a token that its tokenizer cannot spell is left out."""
    tokenizer = unigram()
    scorer = Scorer(
        RewardModel.from_causal_lm(make_model_dir(tmp_path, gpt2_config(len(tokenizer)), tokenizer)), tokenizer, 250
    )
    assert scorer.score([BODY], ["my </s> cat </s>"]).isfinite().all()
    (ids,) = token_ids(tokenizer, ["my </s> cat </s>"])
    assert tokenizer.eos_token_id not in ids


def test_a_post_is_refused_where_prompts_are_made():
    """As the tables do, and SFT for its ROUGE."""
    with pytest.raises(UserError, match=r"x\.jsonl, row 9: the text holds '</s>'"):
        cut_prompts(unigram(), [prompt_text("POST: a"), prompt_text("POST: a </s> b")], 200, ["y", "x.jsonl, row 9"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([*CONTROL, "<|", "|>", "<|end", "of", "text|>", " ", "cat", "\n", "é", "<", "s>", "\0"]))
)
def test_no_text_becomes_a_control_token(parts):
    text = "".join(parts)
    (ids,) = token_ids(TOKENIZER, [text])
    assert control_ids(TOKENIZER).isdisjoint(ids)
    assert TOKENIZER.decode(ids) == text


def test_a_stop_sequence_may_be_a_control_token():
    tokenizer = with_control_tokens()
    end = tokenizer.convert_tokens_to_ids("<|im_start|>")
    cat, boss = (tokenizer(text).input_ids for text in (" cat", " boss"))
    assert cut_at_stop(tokenizer, [], [*cat, end, *boss], ["<|im_start|>"]) == ([*cat, end], " cat")
    assert cut_at_stop(tokenizer, [], [*cat, *boss], ["<|im_start|>"]) == ([*cat, *boss], " cat boss")


# --- the published ids


def published_ids(tokenizer, row: dict[str, str], side: str) -> list[int]:
    """As the released reward model was trained, END being the tokenizer's EOS."""
    return tokenizer(f"{START}{row['prompt']}\n{row[side]}{END}").input_ids


def test_the_ids_of_text_without_control_tokens_are_the_published_ones(tldr_dir, comparisons_dir, tokenizer):
    check_published(tldr_dir, comparisons_dir, tokenizer)


def test_the_ids_of_real_text_are_the_published_ones(real_data, real_gptj_dir):
    tokenizer = load_tokenizer(real_gptj_dir)
    check_published(real_data / "openai_summarize_tldr", real_data / "openai_summarize_comparisons", tokenizer)


def check_published(tldr_dir, comparisons_dir, tokenizer) -> None:
    rows = load_rows(tldr_dir, "test", ["prompt", "label"])
    for row, ids in zip(rows, TLDRDataset(rows, tokenizer, 2000), strict=True):
        assert ids["input_ids"] == tokenizer(f"{row['prompt']} {row['label']}{END}").input_ids
    for row, ids in zip(rows, make_prompts(str(tldr_dir), "test", None, tokenizer, 2000), strict=True):
        assert ids["input_ids"] == tokenizer(row["prompt"]).input_ids
    pairs, _ = load_comparisons(str(comparisons_dir), "test")
    encoded = encode_comparisons(pairs, tokenizer, 2000, show_progress=False)
    for row, ids in zip(pairs, encoded, strict=True):
        for side in ("chosen", "rejected"):
            assert [*ids[f"{side}_ids"], tokenizer.eos_token_id] == published_ids(tokenizer, row, side)


# --- one post, whatever its file puts around it


@pytest.mark.parametrize(
    "summary",
    ["my cat moved again today", "TL;DR: my cat moved again today", "TL;DR:\r\nTL;DR:my cat moved again today "],
)
@pytest.mark.parametrize(
    "tail", ["", "\n", " \r\n", "\nTL;DR:", "\r\n\r\nTL;DR: \n", "\xa0TL;DR:\u2003", "\nTL;DR:\nTL;DR:"]
)
@pytest.mark.parametrize(
    "post", ["my cat", "he wrote TL;DR: nothing", "tl;dr: odd\r\nTL;DR :", "\ufeffe\u0301 \0 cat", "TLDR:"]
)
def test_all_stages_read_the_same_bytes(tokenizer, tmp_path, post, tail, summary):
    body = f"SUBREDDIT: r/pets\nPOST: {post}"
    ends_with_marker = tail if "TL;DR:" in tail else tail + "TL;DR:"
    write_rows(tmp_path / "train.jsonl", [{"prompt": body + ends_with_marker, "label": summary}])
    pair = {"prompt": body + tail, "chosen": summary, "rejected": "so it was never found"}
    write_rows(tmp_path / "pairs.jsonl", [pair])
    rows, _ = load_comparisons(str(tmp_path / "pairs.jsonl"), "train")
    (pair,) = encode_comparisons(rows, tokenizer, 200, show_progress=False)
    (prompt,) = make_prompts(str(tmp_path), "train", None, tokenizer, 200)
    (row,) = TLDRDataset(load_rows(tmp_path, "train", ["prompt", "label"]), tokenizer)
    assert tokenizer.decode(prompt["input_ids"]) == prompt["prompt"] == f"{body}\nTL;DR:"
    assert tokenizer.decode(row["input_ids"]) == f"{body}\nTL;DR: my cat moved again today<|endoftext|>"
    assert tokenizer.decode(pair["chosen_ids"]) == f"{START}{body}\nTL;DR: my cat moved again today"
    assert rm_text(prompt["body"], prompt["label"]) == tokenizer.decode(pair["chosen_ids"])


def test_a_label_of_the_marker_alone_is_refused_in_all_stages(tokenizer, tmp_path):
    write_rows(tmp_path / "train.jsonl", [tldr("POST: a", "x y"), tldr("POST: b", " TL;DR: ")])
    told = r"train\.jsonl, row 2: the summary is 'TL;DR:' and nothing else"
    with pytest.raises(UserError, match=told):
        TLDRDataset(load_rows(tmp_path, "train", ["prompt", "label"]), tokenizer)
    with pytest.raises(UserError, match=told):
        make_prompts(str(tmp_path), "train", None, tokenizer, 100)


def test_a_file_from_windows_is_read(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(tldr("POST: a", "b")).encode() + b"\r\n")
    (row,) = load_rows(tmp_path, "train", ["prompt", "label"])
    assert row["prompt"] == "POST: a\nTL;DR:"
