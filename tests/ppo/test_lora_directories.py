"""LoRA: adapters saved, merged and reloaded."""

import peft
import torch
from safetensors.torch import load_file
from tiny_trlx import tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM

from summarize_rlhf.handover import read_run
from summarize_rlhf.lm.speed import tune_model

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}


def test_lora_is_saved_as_adapter_and_merged_and_reloads_both_ways(gptj_dir, tmp_path) -> None:
    """The adapter on its base model and the merged model give the trainer's logits; the base gives others."""
    settings = tiny_config(gptj_dir, tmp_path / "out", model__peft_config=LORA, train__epochs=1)
    trainer = tiny_trainer(settings)
    trainer.learn()
    saved = tmp_path / "out/checkpoint_4/hf_model"
    assert {path.name for path in saved.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "run.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "value_head.safetensors",
    }
    assert all("lora_" in key for key in load_file(saved / "adapter_model.safetensors"))
    trainer.policy.causal_lm.generation_config.eos_token_id = [0, 5]
    trainer.save_pretrained(str(tmp_path / "merged"), merge_adapter=True)
    assert "model.safetensors" in {path.name for path in (tmp_path / "merged").iterdir()}

    ids = torch.randint(300, (2, 11))
    expected = trainer.policy.model(ids).logits
    base = tune_model(AutoModelForCausalLM.from_pretrained(gptj_dir)).eval()
    assert (base(ids).logits - expected).abs().max() > 1e-4
    adapted = peft.PeftModel.from_pretrained(base, saved).eval()
    assert torch.equal(adapted(ids).logits, expected)
    assert torch.equal(tune_model(AutoModelForCausalLM.from_pretrained(saved)).eval()(ids).logits, expected)
    merged, info = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    torch.testing.assert_close(merged.eval()(ids).logits, expected, rtol=0, atol=1e-6)
    assert merged.generation_config.eos_token_id == [0, 5]
    assert "base_sha256" in read_run(saved)
    assert "base_sha256" not in read_run(tmp_path / "merged")  # it is a whole model


def test_lora_resumes(gptj_dir, tmp_path) -> None:
    options = {"model.peft_config": LORA, "train.save_optimizer": True, "train.epochs": 1}
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path / "out", **options))
    trainer.learn()
    again = tiny_trainer(tiny_config(gptj_dir, tmp_path / "again", **options))
    again.load(tmp_path / "out/checkpoint_4")
    for (name, a), b in zip(trainer.policy.named_parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_generation_under_lora_sets_the_models_own_config_aside(gptj_dir, tmp_path) -> None:
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path, model__peft_config=LORA))
    ids = torch.tensor([[7, 8]])
    torch.manual_seed(0)
    expected = trainer.generate(ids)
    trainer.policy.causal_lm.generation_config.update(top_k=1, repetition_penalty=9.0)
    torch.manual_seed(0)
    assert torch.equal(trainer.generate(ids), expected)
