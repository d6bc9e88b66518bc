"""What scripts written for trlX 0.7 use: configuration files, import paths, trackers."""

import inspect
import json
import shutil

import pytest
from tiny_trlx import PROMPTS, tiny_config

import trlx
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.run.kept import read_value
from summarize_rlhf.tokenizer import load_tokenizer
from trlx.data.configs import TRLConfig

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
    kept = read_value(tmp_path / "wandb_run_id")
    assert seen["project"] == "trlx"
    run = {"name": "mine", "entity": None, "group": "g", "tags": ["a"], "id": kept, "resume": "allow"}
    assert seen["init_kwargs"] == {"wandb": run}
    assert seen["config"]["train"]["tags"] == ["a"]
    json.dumps(seen["config"])


def test_a_run_joins_the_group_of_the_stage_that_wrote_its_model(gptj_dir, tmp_path, monkeypatch) -> None:
    """Under the names of Trackio's and of W&B's `init`; a resumed run goes on with its own."""
    from trlx.trainer import setup

    sft, seen = shutil.copytree(gptj_dir, tmp_path / "sft"), {}
    save_run(sft, run_record("sft", {}, load_tokenizer(sft), 0, 120, {}, run_name="seed_3"))
    spy = {"is_main_process": True, "init_trackers": lambda _, project, **given: seen.update(given["init_kwargs"])}
    for tracker, goes_on in (("trackio", False), ("wandb", False), ("trackio", True)):
        config = tiny_config(sft, tmp_path, **{"train.tracker": tracker})
        setup.start_trackers(type("Spy", (), spy)(), config, goes_on)
        resume = "allow" if goes_on or tracker == "wandb" else "never"
        expected = {"name": "seed_3/ppo", "group": "seed_3", "resume": resume}
        assert {name: seen[tracker][name] for name in expected} == expected
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    assert setup.group_of(str(sft)) == "mine"
    assert setup.group_of(str(gptj_dir)) is None


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
