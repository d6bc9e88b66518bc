"""Adapters that PPO wrote: every reader loads them, on the base they belong to and on no other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file, save_file
from tiny import make_model_dir
from tiny_trlx import tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM

from reward_model.reward_model import RewardModel, load_config
from summarize_rlhf import UserError
from summarize_rlhf.handover import check_handover
from summarize_rlhf.lm.adapters import weights_digest
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.tokenizer import load_tokenizer
from trlx.merge import merge

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
IDS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """`sft`, the base; `ppo/hf_model`, an adapter trained on it for one collection; `logits` of that policy."""
    folder = tmp_path_factory.mktemp("run")
    make_model_dir(folder / "sft")
    config = tiny_config(folder / "sft", folder / "ppo", model__peft_config=LORA, train__epochs=1)
    trainer = tiny_trainer(config)
    trainer.learn()
    trainer.save_pretrained()
    with torch.no_grad():
        torch.save(trainer.policy.model(IDS).logits, folder / "logits")
    return folder


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def copied(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "copy")
    return tmp_path / "copy"


def test_adapter_is_merged_wherever_a_model_is_read(run) -> None:
    adapter, expected = run / "ppo/hf_model", torch.load(run / "logits")
    assert not torch.allclose(expected, logits_of(load_causal_lm(run / "sft")), atol=1e-4)
    model = load_causal_lm(adapter)
    torch.testing.assert_close(logits_of(model), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits_of(AutoPeftModelForCausalLM.from_pretrained(adapter)), expected)
    assert not any("lora" in name for name in model.state_dict())
    trunk = RewardModel.from_causal_lm(adapter).transformer.state_dict()
    assert torch.equal(trunk["h.0.attn.q_proj.weight"], model.state_dict()["transformer.h.0.attn.q_proj.weight"])
    assert load_config(run / "none", adapter).model_type == "gptj"
    assert load_causal_lm(adapter, dtype=torch.bfloat16).dtype == torch.bfloat16
    rounded = model.to(torch.bfloat16).state_dict()
    for name, weight in load_causal_lm(adapter, dtype=torch.bfloat16).state_dict().items():
        assert torch.equal(weight, rounded[name]), name  # merged in fp32, rounded once


def test_hand_over_is_checked_for_adapters_too(run, tmp_path) -> None:
    adapter = run / "ppo/hf_model"
    assert check_handover(adapter, expects_stage="ppo", tokenizer=load_tokenizer(adapter))["stage"] == "ppo"
    with pytest.raises(UserError, match="holds a checkpoint of stage 'ppo'"):
        check_handover(adapter, expects_stage="sft")


def test_an_adapter_on_an_adapter(run, tmp_path) -> None:
    """PPO that starts from an adapter trains on the merged model, and its own adapter belongs to that one."""
    config = tiny_config(run / "ppo/hf_model", tmp_path / "out", model__peft_config=LORA, train__epochs=1)
    trainer = tiny_trainer(config)
    torch.testing.assert_close(logits_of(trainer.policy.model), torch.load(run / "logits"), rtol=1e-5, atol=1e-6)
    trainer.learn()
    trainer.save_pretrained()
    second = tmp_path / "out/hf_model"
    assert json.loads((second / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        run / "ppo/hf_model"
    )
    expected = logits_of(trainer.policy.model)
    torch.testing.assert_close(logits_of(load_causal_lm(second)), expected, rtol=1e-5, atol=1e-6)


def test_a_base_that_was_trained_anew_is_refused(run, tmp_path) -> None:
    """The path is the same, the weights are not: it would be neither the old model nor the new one."""
    folder = copied(run, tmp_path)
    set_base(folder, folder / "sft")
    load_causal_lm(folder / "ppo/hf_model")
    make_model_dir(folder / "sft", seed=1)
    with pytest.raises(UserError, match=r"was trained on other weights than .*copy/sft holds now"):
        load_causal_lm(folder / "ppo/hf_model")


def set_option(folder: Path, name: str, value: object) -> None:
    file = folder / "ppo/hf_model/adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))


def set_base(folder: Path, base: str | Path | None) -> None:
    set_option(folder, "base_model_name_or_path", base and str(base))


def test_base_and_adapter_moved_together(run, tmp_path) -> None:
    folder = copied(run, tmp_path)
    set_base(folder, "/somewhere/else/sft")
    torch.testing.assert_close(logits_of(load_causal_lm(folder / "ppo/hf_model")), torch.load(run / "logits"))
    make_model_dir(folder / "sft", seed=1)  # a stranger of the same name
    with pytest.raises(UserError, match="belongs to the base model /somewhere/else/sft, which is not there"):
        load_causal_lm(folder / "ppo/hf_model")


def edit(change):
    def spoil(folder: Path) -> None:
        file = folder / "ppo/hf_model/adapter_model.safetensors"
        save_file(change(load_file(file)), file)

    return spoil


FAULTS = [
    (lambda f: (f / "ppo/hf_model/adapter_model.safetensors").unlink(), "no weights beside it"),
    (lambda f: (f / "ppo/hf_model/adapter_config.json").write_text("{"), "cannot read the adapter's config"),
    (lambda f: set_base(f, None), "does not name the base model"),
    (lambda f: set_base(f, "x" * 300), "cannot read the adapter's config"),
    (edit(lambda w: dict(list(w.items())[1:])), "does not fit its model; missing"),
    (edit(lambda w: w | {"base_model.model.odd.lora_A.weight": torch.zeros(1)}), "not part of it"),
    (edit(lambda w: w | {name: x[:1] for name, x in w.items()}), "does it fit its model"),
    (lambda f: [set_base(f, f / "ppo/hf_model"), (f / "ppo/hf_model/run.json").unlink()], "which is an adapter on it"),
    (lambda f: set_option(f, "lora_alpha", 1e300), "no finite numbers: adapter_config.json was edited"),
    (lambda f: set_option(f, "lora_alpha", float("nan")), "no finite numbers"),
    (lambda f: set_option(f, "r", 0), "does it fit its model"),
    (lambda f: shutil.copy(f / "sft/config.json", f / "ppo/hf_model"), None),
    (lambda f: [shutil.copy(x, f / "ppo/hf_model") for x in (f / "sft").iterdir()], "and an adapter"),
]


@pytest.mark.parametrize(("spoil", "told"), FAULTS)
def test_damaged_adapters_end_in_one_line(run, tmp_path, spoil, told) -> None:
    folder = copied(run, tmp_path)
    spoil(folder)
    if told is None:
        load_causal_lm(folder / "ppo/hf_model")
        return
    with pytest.raises(UserError, match=told):
        load_causal_lm(folder / "ppo/hf_model")


def test_merge_command(run, server, tmp_path) -> None:
    """For other programs; the trainer's own merged directory holds the same weights."""
    ended = server.run("merge", [run / "ppo/hf_model", tmp_path / "plain"], tmp_path)
    assert ended.code == 0, ended.err
    names = {"README.md", "config.json", "generation_config.json", "model.safetensors", "run.json", "tokenizer.json"}
    names |= {"tokenizer_config.json", "value_head.safetensors"}
    assert {p.name for p in (tmp_path / "plain").iterdir()} == names
    expected = torch.load(run / "logits")
    torch.testing.assert_close(logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "plain")), expected)
    with pytest.raises(UserError, match="holds no adapter"):
        merge(run / "sft", tmp_path / "again")
    assert weights_digest(run / "sft") != weights_digest(tmp_path / "plain")
