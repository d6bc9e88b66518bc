"""One tokenizer rule, and a hash that tells two tokenizers apart and nothing else."""

import copy
import json

import pytest
from tiny import make_tokenizer
from transformers import PreTrainedTokenizerFast

from summarize_rlhf import UserError
from summarize_rlhf.tokenizer import control_ids, load_tokenizer, tokenizer_hash


def test_pad_becomes_eos_only_where_there_is_none(tmp_path):
    make_tokenizer().save_pretrained(tmp_path / "none")
    make_tokenizer(pad="<pad>").save_pretrained(tmp_path / "own")
    none, own = load_tokenizer(tmp_path / "none"), load_tokenizer(tmp_path / "own")
    assert none.pad_token_id == none.eos_token_id == 0
    assert own.pad_token == "<pad>"
    assert own.pad_token_id != own.eos_token_id
    assert none.padding_side == own.padding_side == "right"


def test_the_hash_ignores_state_and_survives_saving(tmp_path):
    one = make_tokenizer()
    one.pad_token = one.eos_token
    one.save_pretrained(tmp_path)
    same = load_tokenizer(tmp_path)
    wanted = tokenizer_hash(one)
    assert tokenizer_hash(same) == wanted
    same.padding_side = "left"
    same("cat", truncation=True, max_length=3)
    same(["cat", "cat moved"], padding=True)
    assert tokenizer_hash(same) == wanted


def test_the_hash_sees_what_changes_ids():
    base = make_tokenizer()
    base.pad_token = base.eos_token
    smaller = make_tokenizer(vocab_size=300)
    smaller.pad_token = smaller.eos_token
    added = copy.deepcopy(base)
    added.add_tokens(["<|startoftext|>"])  # it would no longer split into pieces
    other_pad = copy.deepcopy(base)
    other_pad.pad_token = "cat"
    hashes = {tokenizer_hash(t) for t in (base, smaller, added, other_pad)}
    assert len(hashes) == 4


def test_startoftext_splits_into_pieces(tokenizer):
    assert len(tokenizer("<|startoftext|>").input_ids) > 1
    assert tokenizer("<|endoftext|>").input_ids == [0]


def test_no_tokenizer_in_the_directory(tmp_path):
    with pytest.raises(UserError, match=r"no usable tokenizer in .*tokenizer.json"):
        load_tokenizer(tmp_path)


def test_no_eos(tmp_path):
    backend = make_tokenizer().backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no EOS token"):
        load_tokenizer(tmp_path)


def test_a_setting_that_shows_in_the_first_use_alone(tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": "512"}))
    with pytest.raises(UserError, match="cannot read the tokenizer in"):
        load_tokenizer(tmp_path)


def test_a_hub_id_without_a_network_is_one_line():
    with pytest.raises(UserError, match=r"'EleutherAI/gpt-j-6B'.*cannot be reached.*\./quickstart\.sh") as caught:
        load_tokenizer("EleutherAI/gpt-j-6B")
    assert "\n" not in str(caught.value)


def test_a_missing_path_is_no_hub_id():
    with pytest.raises(UserError, match=r"'./nowhere' does not exist"):
        load_tokenizer("./nowhere")


def test_bytes_and_plain_vocabulary_are_no_control_tokens():
    made = make_tokenizer()
    made.add_special_tokens({"extra_special_tokens": ["<0x0A>", "<|im_end|>"]})
    made.add_tokens(["<|extratoken_1|>"])
    made.add_tokens(["<|reserved_1|>"], special_tokens=True)  # as Llama 3 has hundreds, with no part of their own
    special = made.convert_tokens_to_ids(["<|im_end|>", "<|reserved_1|>"])
    assert control_ids(made) == {made.eos_token_id, *special}
    unk = make_tokenizer(pad="<pad>")
    unk.unk_token = "<pad>"  # as Llama's is often set: then it is how rare characters are read
    assert control_ids(unk) == {unk.eos_token_id}
    unk.unk_token = unk.eos_token  # GPT-2's
    assert control_ids(unk) == {unk.eos_token_id, unk.pad_token_id}
