"""Weights load as saved; those that are damaged or do not fit are named."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import gpt2_config, gptj_config, make_model_dir

from summarize_rlhf import UserError
from summarize_rlhf.lm.last_block import has_keep_from
from summarize_rlhf.lm.weights import fit_to_tokenizer, load_causal_lm, state_dict_of


def change(source, target, edit):
    shutil.copytree(source, target)
    weights = load_file(target / "model.safetensors")
    edit(weights)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_weights_load_as_saved(gptj_dir, gpt2_dir):
    for directory in (gptj_dir, gpt2_dir):
        model = load_causal_lm(directory)
        assert has_keep_from(model)
        saved = load_file(directory / "model.safetensors")
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in saved.items())
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_old_mask_buffers_are_tolerated(gptj_dir, tmp_path, capfd):
    def edit(weights):
        weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
        weights["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e9)

    load_causal_lm(change(gptj_dir, tmp_path / "old", edit))
    assert "UNEXPECTED" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop("lm_head.bias"), r"keys 1 missing: lm_head.bias$"),
        (lambda w: w.update({"v_head.weight": torch.zeros(1, 32)}), r"1 not part of the model: v_head.weight$"),
        (
            lambda w: w.update({"transformer.ln_f.weight": torch.zeros(7)}),
            r"of another shape: transformer.ln_f.weight \(7,\), expected \(32,\)",
        ),
        (lambda w: w.update({"transformer.h.0.attn.q_proj.bias": torch.zeros(32)}), r"not part .*q_proj.bias"),
    ],
)
def test_weights_that_do_not_fit_are_named(gptj_dir, tmp_path, edit, message):
    with pytest.raises(UserError, match=message):
        load_causal_lm(change(gptj_dir, tmp_path / "changed", edit))


@pytest.mark.parametrize("shard", ["other.safetensors", "../model.safetensors", "", "x" * 300])
def test_an_index_that_names_what_is_not_there(gptj_dir, tmp_path, shard):
    shutil.copytree(gptj_dir, tmp_path / "model")
    index = {"metadata": {}, "weight_map": {"lm_head.bias": shard}}
    (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps(index))
    for load in (load_causal_lm, lambda folder: state_dict_of(folder / "model.safetensors.index.json")):
        with pytest.raises(UserError, match=r"index\.json names .*, which is not beside it: copy it again"):
            load(tmp_path / "model")


def test_a_config_that_loads_and_cannot_compute(gptj_dir, tmp_path):
    """GPT-J's rotary dimensions enter no weight's shape, and fail at the first forward pass alone."""
    shutil.copytree(gptj_dir, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps(config | {"rotary_dim": 64}))
    with pytest.raises(UserError, match=r"cannot read the model in .*do the numbers in its config\.json fit together"):
        load_causal_lm(tmp_path / "model")


def test_damaged_and_absent_weights(gptj_dir, tmp_path):
    shutil.copytree(gptj_dir, tmp_path / "half")
    with (tmp_path / "half" / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    for load in (load_causal_lm, state_dict_of):
        with pytest.raises(UserError, match="damaged"):
            load(tmp_path / "half")
    (tmp_path / "half" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no whole model"):
        load_causal_lm(tmp_path / "half")
    with pytest.raises(UserError, match="no weights at"):
        state_dict_of(tmp_path / "half")
    with pytest.raises(UserError, match="does not exist"):
        load_causal_lm(tmp_path / "nowhere")


def test_state_dict_of_every_format(gptj_dir, tmp_path):
    wanted = load_file(gptj_dir / "model.safetensors")
    torch.save(wanted, tmp_path / "pytorch_model.bin")
    load_causal_lm(gptj_dir).save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    for path in (gptj_dir, tmp_path, tmp_path / "pytorch_model.bin", tmp_path / "shards"):
        found = state_dict_of(path)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_pickle_with_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"x": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="it is damaged, or a pickle that holds more than tensors"):
        state_dict_of(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_model_that_does_not_fit_its_tokenizer(tmp_path, tokenizer):
    small = load_causal_lm(make_model_dir(tmp_path / "small", gptj_config(50)))
    with pytest.raises(UserError, match=r"has \d+ tokens, but the model .*small embeds 50"):
        fit_to_tokenizer(small, tokenizer, 100)
    short = load_causal_lm(make_model_dir(tmp_path / "short", gpt2_config(len(tokenizer), positions=64)))
    with pytest.raises(UserError, match=r"max_length is 65 tokens, but the model .*short reads 64"):
        fit_to_tokenizer(short, tokenizer, 65)
    fit_to_tokenizer(short, tokenizer, 64)
    assert short.config.pad_token_id == short.generation_config.pad_token_id == tokenizer.pad_token_id


def test_a_hub_model_without_a_network_is_one_line():
    with pytest.raises(UserError, match=r"'EleutherAI/gpt-j-6B'.*cannot be reached.*quickstart") as caught:
        load_causal_lm("EleutherAI/gpt-j-6B")
    assert "\n" not in str(caught.value)
