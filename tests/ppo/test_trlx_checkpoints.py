"""Checkpoints of trlX 0.7: converted, or trained on."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import gpt2_config, gptj_config, make_model_dir
from tiny_trlx import tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM, AutoTokenizer

from summarize_rlhf import UserError
from summarize_rlhf.lm.speed import tune_model
from trlx import convert
from trlx.models.policy import PolicyWithValueHead


def make_trlx_checkpoint(directory: Path, config, prefix: str = "base_model.", buffers: bool = True) -> torch.nn.Module:
    """An `hf_model` as trlX wrote it: pytorch_model.bin with the model, value head and reference under its names."""
    make_model_dir(directory, config)
    model = tune_model(AutoModelForCausalLM.from_pretrained(directory)).eval()
    (directory / "model.safetensors").unlink()
    state = {prefix + key: x for key, x in model.state_dict().items()}
    head = PolicyWithValueHead(model, num_layers_unfrozen=0).v_head
    state |= {f"v_head.{key}": x for key, x in head.state_dict().items()}
    top = [key for key in model.state_dict() if ".h.1." in key]
    state |= {"frozen_head.decoder_blocks.0." + key.partition(".h.1.")[2]: model.state_dict()[key] for key in top}
    state |= {"frozen_head.final_norm.weight": model.transformer.ln_f.weight.detach()}
    state |= {"frozen_head.lm_head.weight": model.lm_head.weight.detach()}
    if buffers:
        state |= {f"{prefix}transformer.h.{i}.attn.bias": torch.ones(1, 1, 8, 8).bool() for i in range(2)}
        state |= {f"{prefix}transformer.h.{i}.attn.masked_bias": torch.tensor(-1e9) for i in range(2)}
    torch.save(state, directory / "pytorch_model.bin")
    return model


@pytest.mark.parametrize("prefix", ["base_model.", ""])
@pytest.mark.parametrize("family", ["gptj", "gpt2"])
def test_one_command_converts_a_trlx_checkpoint(tmp_path, root, prefix: str, family: str) -> None:
    config = gptj_config(vocab_size=373) if family == "gptj" else gpt2_config(vocab_size=373)
    model = make_trlx_checkpoint(tmp_path / "old", config, prefix)
    assert convert.is_of_trlx(tmp_path / "old")
    if prefix and family == "gptj":
        command = [sys.executable, "-m", "trlx.convert", str(tmp_path / "old"), str(tmp_path / "new")]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"wrote {tmp_path / 'new'}\n"), done.stderr
    else:
        convert.convert(tmp_path / "old", tmp_path / "new")
    assert not convert.is_of_trlx(tmp_path / "new")
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "new", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = torch.randint(300, (2, 11))
    assert torch.equal(tune_model(loaded).eval()(ids).logits, model(ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "new")("my cat").input_ids
    assert set(load_file(tmp_path / "new/value_head.safetensors")) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_training_goes_on_from_a_trlx_checkpoint(tmp_path) -> None:
    model = make_trlx_checkpoint(tmp_path / "old", gptj_config(vocab_size=373))
    state = torch.load(tmp_path / "old/pytorch_model.bin")
    head = {key.removeprefix("v_head."): x for key, x in state.items() if key.startswith("v_head.")}
    convert.convert(tmp_path / "old", tmp_path / "new")
    options = {"method.value_model": str(tmp_path / "new"), "train.epochs": 1}
    trainer = tiny_trainer(tiny_config(tmp_path / "old", tmp_path / "out", **options))
    ids = torch.randint(300, (2, 11))
    assert torch.equal(trainer.policy.model(ids).logits, model(ids).logits)
    assert all(torch.equal(head[name], x) for name, x in trainer.policy.v_head.state_dict().items())
    trainer.learn()


def test_conversion_refuses_by_name(gptj_dir, tmp_path) -> None:
    with pytest.raises(UserError, match="is no PPO checkpoint of trlX"):
        convert.convert(gptj_dir, tmp_path / "new")
    make_trlx_checkpoint(tmp_path / "old", gptj_config(vocab_size=373))
    state = torch.load(tmp_path / "old/pytorch_model.bin")
    del state["base_model.lm_head.weight"]
    state["base_model.transformer.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "old/pytorch_model.bin")
    with pytest.raises(UserError, match=r"missing: lm_head\.weight.*not part of the model: transformer\.extra"):
        convert.convert(tmp_path / "old", tmp_path / "new")
    assert not (tmp_path / "new").exists()
