"""`trlx.train`: from prompts and a reward function to a trained policy, in one call."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.run import checkpoints
from summarize_rlhf.run.console import protect_console
from summarize_rlhf.run.disk_space import check_free
from summarize_rlhf.run.run_directory import hold_run_directory
from summarize_rlhf.tokenizer import prefix_ids
from summarize_rlhf.versions import check_versions
from trlx import registry
from trlx.data import arguments
from trlx.data.configs import TRLConfig
from trlx.data.default_configs import default_ppo_config
from trlx.pipeline.offline_pipeline import PromptPipeline
from trlx.trainer import elastic
from trlx.trainer.checkpoint import STATE, run_needs, settings
from trlx.trainer.ppo import AcceleratePPOTrainer
from trlx.trainer.setup import join_processes

ELSEWHERE = {
    "samples": "training on `samples` (ILQL, SFT) is not part of this engine; stage 1 fine-tunes on texts.",
    "rewards": "offline `rewards` (ILQL) are not part of this engine; give a reward_fn.",
    "dataset": "the deprecated `dataset` argument is gone; give `prompts` and a reward_fn.",
}


def train(
    model_path: str | None = None,
    reward_fn: Callable | None = None,
    dataset: Any = None,
    samples: Any = None,
    rewards: Any = None,
    prompts: Iterable[str] | Iterable[dict[str, Any]] | None = None,
    eval_prompts: Iterable[str] | Iterable[dict[str, Any]] | None = None,
    metric_fn: Callable | None = None,
    config: TRLConfig | None = None,
    stop_sequences: list[str] | None = None,
) -> AcceleratePPOTrainer:
    """Train a policy with PPO and return its trainer.

    model_path: replaces `config.model.model_path`.
    reward_fn(samples, prompts, outputs, tokenizer, **metadata): returns a number per sample, or one per response token.
    prompts: strings, or dictionaries with a "prompt" whose other keys reach reward_fn and metric_fn as lists. As in
    trlX nothing is put before a string: where the model expects a BOS, begin with it, or give the prompt's ids as
    `input_ids` of a dictionary (see `PromptPipeline`). Default: the tokenizer's BOS alone.
    eval_prompts: likewise. Default: the first prompts, as many as a training batch has.
    metric_fn: called as reward_fn, returns a dictionary of lists.
    config: default `default_ppo_config()`.
    stop_sequences: texts that end a response.
    Raises TypeError or ValueError, before anything is loaded, for an argument of another type or an offline method.
    """
    protect_console()
    tune_process()
    check_versions()
    for name, value in (("samples", samples), ("rewards", rewards), ("dataset", dataset)):
        if value is not None:
            raise ValueError(f"trlx.train({name}=…): {ELSEWHERE[name]}")
    if reward_fn is None:
        raise ValueError("trlx.train needs a reward_fn.")
    arguments.check_function("reward_fn", reward_fn)
    if metric_fn is not None:
        arguments.check_function("metric_fn", metric_fn)
    if stop_sequences is not None:
        arguments.check_stop_sequences(stop_sequences)
    if prompts is not None:
        prompts = arguments.check_prompts("prompts", prompts)
    if eval_prompts is not None:
        eval_prompts = arguments.check_prompts("eval_prompts", eval_prompts)
    config = default_ppo_config() if config is None else config
    arguments.check_config_type(config, TRLConfig)
    if model_path is not None:
        arguments.check_model_path("trlx.train(model_path=…)", model_path)
        config = config.evolve(model={"model_path": model_path})

    join_processes()
    hold_run_directory(config.train.checkpoint_dir, "ppo")
    make_trainer = registry.find(registry.TRAINERS, config.train.trainer, AcceleratePPOTrainer)
    make_prompts = registry.find(registry.PIPELINES, config.train.pipeline, PromptPipeline)
    trainer = make_trainer(config, reward_fn, metric_fn, stop_sequences, **config.train.trainer_kwargs)
    check_free(run_needs(trainer))
    batch = config.train.batch_size * trainer.accelerator.num_processes
    if prompts is None:
        prompts = [trainer.tokenizer.bos_token] * batch
    if eval_prompts is None:
        eval_prompts = prompts[:batch]
    room = config.train.seq_length - config.method.longest_response()
    trainer.add_prompt_pipeline(make_prompts(prompts, room, trainer.tokenizer))
    prefix = prefix_ids(trainer.tokenizer)
    if not any(prompt.ids[: len(prefix)] == prefix for prompt in trainer.prompts.items):
        bos = trainer.tokenizer.decode(prefix)
        trainer.say(f"note: no prompt begins with {bos}, as texts of this tokenizer do: put it there if you want it.")
    trainer.add_eval_pipeline(make_prompts(eval_prompts, room, trainer.tokenizer))
    start = config.train.resume_from_checkpoint
    if start in ("auto", "fresh"):
        folder = Path(config.train.checkpoint_dir)
        start = checkpoints.find(
            folder, settings(trainer), elastic.may_change(config), fresh=start == "fresh", needs=STATE
        )
    if start:
        trainer.load(start)
    trainer.learn()
    return trainer
