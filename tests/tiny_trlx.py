"""A small PPO run for the tests: its configuration, its trainer, its rewards."""

from collections.abc import Callable
from pathlib import Path

from trlx.data.configs import TRLConfig
from trlx.data.default_configs import default_ppo_config
from trlx.pipeline.offline_pipeline import PromptPipeline
from trlx.trainer.ppo import AcceleratePPOTrainer

PROMPTS = ["my cat", "the sister lost", "so", "house train week", "asked again and", "never moved", "boss", "today"]


def tiny_config(model: Path, out: Path, **overrides) -> TRLConfig:
    """Two layers of which one trains, 8 rollouts of at most 6 tokens, no tracker; `overrides` are dotted names."""
    tiny = {
        "model.model_path": str(model),
        "model.num_layers_unfrozen": 1,
        "tokenizer.tokenizer_path": str(model),
        "train.seq_length": 32,
        "train.epochs": 2,
        "train.total_steps": 1000,
        "train.batch_size": 4,
        "train.eval_interval": 100,
        "train.checkpoint_interval": 100,
        "train.checkpoint_dir": str(out),
        "train.tracker": None,
        "train.save_optimizer": False,
        "train.save_best": False,
        "optimizer.kwargs": {"lr": 1e-2, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.0},
        "scheduler.kwargs": {"T_max": 1e12, "eta_min": 1e-2},
        "method.num_rollouts": 8,
        "method.chunk_size": 4,
        "method.ppo_epochs": 2,
        "method.scale_reward": None,
        "method.gen_kwargs": {"max_new_tokens": 6},
    }
    return TRLConfig.update(default_ppo_config(), tiny | {k.replace("__", "."): v for k, v in overrides.items()})


def length_reward(outputs: list[str], **_) -> list[float]:
    """Something that differs from sample to sample."""
    return [len(text) / 10 for text in outputs]


def tiny_trainer(
    config: TRLConfig, reward_fn: Callable = length_reward, prompts: list | None = None, **kwargs
) -> AcceleratePPOTrainer:
    """A trainer with its prompts, as `trlx.train` makes it, that has not learnt yet."""
    trainer = AcceleratePPOTrainer(config, reward_fn, **kwargs)
    room = config.train.seq_length - config.method.longest_response()
    prompts = PROMPTS if prompts is None else prompts
    trainer.add_prompt_pipeline(PromptPipeline(prompts, room, trainer.tokenizer))
    trainer.add_eval_pipeline(PromptPipeline(prompts[:4], room, trainer.tokenizer))
    trainer.log.start(resumed=False)
    return trainer
