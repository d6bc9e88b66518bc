"""What users of trlX 0.7 rely on: its configuration files, its import paths, LoRA, its checkpoints, its scripts."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny import gpt2_config, gptj_config, make_model_dir
from tiny_trlx import PROMPTS, length_reward, tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM, AutoTokenizer

import trlx
from summarize_rlhf import UserError
from summarize_rlhf.lm.speed import tune_model
from trlx import convert
from trlx.data.configs import TRLConfig
from trlx.models.policy import PolicyWithValueHead
from trlx.models.value_head import start_from

# The shape of trlX 0.7's own PPO files (configs/ppo_config.yml there), every field that it knows.
YAML = """
train:
  seq_length: 48
  epochs: 100
  total_steps: 1000
  batch_size: 16
  minibatch_size: 8
  checkpoint_interval: 10000
  eval_interval: 128
  pipeline: "PromptPipeline"
  trainer: "AcceleratePPOTrainer"
  trainer_kwargs: {}
  project_name: "trlx"
  run_name: "mine"
  entity_name: null
  group_name: null
  checkpoint_dir: "ckpts"
  rollout_logging_dir: null
  save_best: true
  save_optimizer: true
  resume_from_checkpoint: null
  tracker: "wandb"
  logging_dir: null
  tags: ["a", "b"]
  seed: 1000
model:
  model_path: "lvwerra/gpt2-imdb"
  model_arch_type: "causal"
  num_layers_unfrozen: 2
  peft_config: null
  model_extra_configs: {}
tokenizer:
  tokenizer_path: "gpt2"
  padding_side: "left"
  truncation_side: "right"
  tokenizer_extra_configs: {}
optimizer:
  name: "adamw"
  kwargs: {lr: 1.412e-4, betas: [0.9, 0.95], eps: 1.0e-8, weight_decay: 1.0e-6}
scheduler:
  name: "cosine_annealing"
  kwargs: {T_max: 10000, eta_min: 1.412e-4}
method:
  name: "ppoconfig"
  num_rollouts: 128
  chunk_size: 128
  ppo_epochs: 4
  init_kl_coef: 0.2
  target: 6
  horizon: 10000
  gamma: 1
  lam: 0.95
  cliprange: 0.2
  cliprange_value: 0.2
  vf_coef: 1
  scale_reward: "running"
  ref_mean: null
  ref_std: null
  cliprange_reward: 10
  gen_kwargs: {max_new_tokens: 40, top_k: 0, top_p: 1.0, do_sample: true}
  gen_experience_kwargs: null
  num_value_layers_unfrozen: 0
"""


def test_a_configuration_file_of_trlx_loads(tmp_path) -> None:
    (tmp_path / "ppo.yml").write_text(YAML)
    config = TRLConfig.load_yaml(tmp_path / "ppo.yml")
    assert (config.train.tags, config.train.run_name, config.train.minibatch_size) == (["a", "b"], "mine", 8)
    assert (config.method.target, config.method.scale_reward, config.optimizer.kwargs["eps"]) == (6, "running", 1e-8)
    assert TRLConfig.from_dict(config.to_dict()) == config


def test_below_an_option_names_are_free() -> None:
    from trlx.data.default_configs import default_ppo_config

    lora = {"peft_type": "LORA", "rank_pattern": {"q_proj": 4}}
    config = TRLConfig.update(default_ppo_config(), {"model.peft_config": lora, "optimizer.kwargs.amsgrad": True})
    config = config.evolve(model={"peft_config": {"rank_pattern": {"v_proj": 8}}})
    assert config.model.peft_config["rank_pattern"] == {"q_proj": 4, "v_proj": 8}
    assert config.optimizer.kwargs["amsgrad"] is True
    with pytest.raises(ValueError, match=r"override 'train\.batch_sise' names no option\. Did you mean 'batch_size'"):
        config.evolve(train={"batch_sise": 8})


def test_import_paths_of_trlx() -> None:
    from trlx.data.configs import ModelConfig, OptimizerConfig, SchedulerConfig, TokenizerConfig, TrainConfig
    from trlx.data.default_configs import PPOConfig, default_ppo_config
    from trlx.data.method_configs import MethodConfig
    from trlx.models.modeling_ppo import AdaptiveKLController, FixedKLController
    from trlx.pipeline.offline_pipeline import PromptPipeline
    from trlx.utils.modeling import RunningMoments, logprobs_of_labels, whiten

    assert default_ppo_config().method.name == "PPOConfig"
    assert list(inspect.signature(trlx.train).parameters) == [
        "model_path",
        "reward_fn",
        "dataset",
        "samples",
        "rewards",
        "prompts",
        "eval_prompts",
        "metric_fn",
        "config",
        "stop_sequences",
    ]
    assert isinstance(default_ppo_config().method, MethodConfig)
    names = [ModelConfig, OptimizerConfig, SchedulerConfig, TokenizerConfig, TrainConfig, PPOConfig]
    assert all(inspect.isclass(x) for x in [*names, AdaptiveKLController, FixedKLController, PromptPipeline])
    assert all(map(callable, (RunningMoments, logprobs_of_labels, whiten)))


def test_tracker_gets_run_name_and_tags(gptj_dir, tmp_path, monkeypatch) -> None:
    from trlx.trainer import setup

    seen = {}
    monkeypatch.setattr(setup, "quiet_wandb", lambda: None)
    options = {"train.tracker": "wandb", "train.run_name": "mine", "train.tags": ["a"], "train.group_name": "g"}
    config = tiny_config(gptj_dir, tmp_path, **options)
    spy = {"is_main_process": True, "init_trackers": lambda _, project, **given: seen.update(given, project=project)}
    setup.start_trackers(type("Spy", (), spy)(), config, goes_on=False)
    kept = (tmp_path / "wandb_run_id").read_text()
    assert seen["project"] == "trlx"
    run = {"name": "mine", "entity": None, "group": "g", "tags": ["a"], "id": kept, "resume": "allow"}
    assert seen["init_kwargs"] == {"wandb": run}
    assert seen["config"]["train"]["tags"] == ["a"]
    json.dumps(seen["config"])


# ------------------------------------------------------------------------- LoRA

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


# ------------------------------------------------------- checkpoints of trlX 0.7


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


# -------------------------------------------------- value function from a reward model


def reward_model(directory: Path, base: Path, trained: int) -> torch.nn.Module:
    """A reward model whose top `trained` blocks differ from its base's, as stage 2 makes it."""
    from reward_model.reward_model import RewardModel

    model = RewardModel.from_causal_lm(base).eval()
    with torch.no_grad():
        for p in [*model.transformer.h[-trained:].parameters(), model.v_head.weight]:
            p.add_(0.3 * torch.randn_like(p))
    directory.mkdir()
    model.save(directory)
    return model


def test_value_function_starts_as_the_reward_model(gptj_dir, tmp_path) -> None:
    """With as many blocks of its own as the reward model trained, the value of each prefix is the reward model's."""
    rm = reward_model(tmp_path / "rm", gptj_dir, trained=1)
    options = {"method.value_model": str(tmp_path / "rm"), "method.num_value_layers_unfrozen": 1}
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path / "out", **options))
    tokens, lengths = torch.randint(300, (3, 12)), torch.tensor([4, 4, 4])
    values = trainer.policy(tokens, lengths, tokens[:, 4:]).values
    expected = rm(tokens, torch.ones_like(tokens))[:, 3:-1]
    torch.testing.assert_close(values, expected, rtol=0, atol=2e-6)
    trainer.learn()
    assert not torch.allclose(trainer.policy(tokens, lengths, tokens[:, 4:]).values, expected, atol=1e-2)


def test_value_head_alone_starts_linear(gptj_dir, tmp_path) -> None:
    rm = reward_model(tmp_path / "rm", gptj_dir, trained=1)
    policy = PolicyWithValueHead(AutoModelForCausalLM.from_pretrained(gptj_dir), num_layers_unfrozen=1)
    start_from(policy, tmp_path / "rm")
    states = torch.randn(5, 32)
    torch.testing.assert_close(policy.v_head(states), rm.v_head(states), rtol=0, atol=1e-6)


def test_value_model_is_refused_by_name(gptj_dir, tmp_path) -> None:
    policy = PolicyWithValueHead(AutoModelForCausalLM.from_pretrained(gptj_dir), num_layers_unfrozen=1)
    with pytest.raises(UserError, match=r"has no v_head\.weight"):
        start_from(policy, gptj_dir)
    wide = make_model_dir(tmp_path / "wide", gptj_config(vocab_size=373, width=64))
    reward_model(tmp_path / "rm", wide, trained=1)
    with pytest.raises(UserError, match=r"v_head\.weight of shape \(1, 64\).*\(1, 32\) is needed"):
        start_from(policy, tmp_path / "rm")


# ------------------------------------------------------------- an old script, unedited


def test_a_script_written_for_trlx_runs(gptj_dir, tmp_path) -> None:
    """As trlX's examples do: an updated default configuration, dictionaries as prompts, rewards per token of text."""
    from trlx.data.default_configs import default_ppo_config

    hparams = {
        "train.tracker": None,
        "train.checkpoint_dir": str(tmp_path),
        "train.total_steps": 2,
        "train.batch_size": 4,
        "train.seq_length": 40,
        "method.num_rollouts": 8,
        "method.chunk_size": 8,
        "method.gen_kwargs.max_new_tokens": 5,
        "tokenizer.tokenizer_path": str(gptj_dir),
        "optimizer.kwargs.lr": 1e-3,
    }
    config = TRLConfig.update(default_ppo_config().to_dict(), hparams)

    def dense_reward_fn(samples, prompts, outputs, tokenizer, original, **kwargs):
        assert original == [text.upper() for text in prompts]
        scores = [[0.0] * len(tokenizer(output).input_ids) for output in outputs]
        for row in scores:
            row[-1:] = [1.0]
        return scores

    trainer = trlx.train(
        model_path=str(gptj_dir),
        reward_fn=dense_reward_fn,
        metric_fn=lambda samples, **kwargs: {"length": [len(sample) for sample in samples]},
        prompts=[{"prompt": text, "original": text.upper()} for text in PROMPTS],
        eval_prompts=[{"prompt": text, "original": text.upper()} for text in PROMPTS[:2]],
        config=config,
        stop_sequences=["\n"],
    )
    assert trainer.step == 2
    inputs = trainer.tokenizer(PROMPTS[0], return_tensors="pt")
    text = trainer.tokenizer.decode(trainer.generate(**inputs)[0])
    assert text.startswith(PROMPTS[0])


# ------------------------------------------------------------------ golden trajectory

GOLDEN = Path(__file__).resolve().parents[1] / "golden_ppo.json"


def golden_run(out: Path) -> list[dict[str, float]]:
    """Three collections of a tiny GPT-2 whose weights, prompts and samples come from fixed seeds."""
    make_model_dir(out / "model", gpt2_config(vocab_size=373), seed=7)
    options = {
        "train.epochs": 3,
        "train.batch_size": 8,
        "train.minibatch_size": 4,
        "method.num_rollouts": 16,
        "method.init_kl_coef": 0.1,
        "method.target": 0.5,
        "method.horizon": 100,
        "method.scale_reward": "running",
        "optimizer.kwargs": {"lr": 1e-2, "betas": [0.9, 0.95], "eps": 1e-4, "weight_decay": 0.01},
    }
    trainer = tiny_trainer(tiny_config(out / "model", out / "run", **options), length_reward)
    trainer.learn()
    lines = [json.loads(line) for line in (out / "run/metrics.jsonl").read_text().splitlines()]
    return [{key: x for key, x in line.items() if not key.startswith("time/")} for line in lines]


def test_golden_trajectory(tmp_path) -> None:
    """Every logged number of three iterations, pinned to 1e-6 where the file was made and to 1e-4 elsewhere.

    It may change with torch's random numbers or kernels, with transformers' GPT-2, and with a change of the algorithm
    that docs/details.md records. A refactoring may not change it.
    `python tests/ppo/test_trlx_surface.py` writes it anew.
    """
    golden = json.loads(GOLDEN.read_text())
    tolerance = 1e-6 if golden["environment"] == environment() else 1e-4
    found = golden_run(tmp_path)
    assert [line.keys() for line in found] == [line.keys() for line in golden["lines"]]
    for line, expected in zip(found, golden["lines"], strict=True):
        assert line == pytest.approx(expected, abs=tolerance, rel=tolerance)


def environment() -> dict[str, str]:
    import transformers

    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "transformers": transformers.__version__, "cpu": capability}


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(1)
        GOLDEN.write_text(
            json.dumps({"environment": environment(), "lines": golden_run(Path(folder))}, indent=1) + "\n"
        )
