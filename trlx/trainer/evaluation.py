"""Evaluating the policy: samples on the evaluation prompts, their rewards and metrics."""

import time
from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import gather_object

from summarize_rlhf.lm import generation, generation_options
from trlx.trainer import checkpoint, rewards
from trlx.trainer.rewards import Episode

Samples = list[dict[str, Any]]  # a row per prompt: prompt, output, reward and metrics


def evaluate(trainer) -> tuple[dict[str, float], Samples]:
    """Return means and samples on the evaluation prompts; once per value where `gen_kwargs` holds a list to sweep."""
    results: dict[str, float] = {}
    samples: Samples = []
    for suffix, options in generation_options.sweep(trainer.method.gen_kwargs):
        means, rows = evaluate_with(trainer, options)
        results |= {key + suffix: mean for key, mean in means.items()}
        samples += rows if not suffix else [{"sweep": suffix.removeprefix("@"), **row} for row in rows]
    return results, samples


def evaluate_with(trainer, options: dict[str, Any]) -> tuple[dict[str, float], Samples]:
    """Return means and samples under one set of generation options; the same at every call for one policy."""
    accelerator, seconds, start = trainer.accelerator, trainer.config.train.reward_timeout, time.time()
    mine = sample_episodes(trainer, options)
    generated = time.time()
    episodes = gather_object(mine)  # of all ranks
    results = {"rollouts/eval_length": sum(len(e.response) for e in episodes) / len(episodes)}
    rows = [{"prompt": e.prompt_text, "output": e.text} for e in episodes]
    if trainer.reward_fn is not None:
        everywhere = trainer.config.train.reward_on_all_ranks
        scores = rewards.score(accelerator, trainer.reward_fn, mine, trainer.tokenizer, everywhere, seconds)
        totals = torch.tensor(gather_object([row.sum().item() for row in scores]), dtype=torch.float64)
        results |= {"reward/mean": totals.mean().item(), "reward/std": totals.std(correction=0).item()}
        rows = [row | {"reward": reward} for row, reward in zip(rows, totals.tolist(), strict=True)]
    scored = time.time()
    if trainer.metric_fn is not None:
        columns = rewards.on_main_rank(
            accelerator, lambda: metrics(trainer.metric_fn, episodes, trainer.tokenizer, seconds)
        )
        results |= {name: sum(values) / len(values) for name, values in columns.items()}
        for name, values in columns.items():
            if len(values) == len(rows):
                rows = [row | {name: value} for row, value in zip(rows, values, strict=True)]
    results |= {"time/generate": generated - start, "time/metric": time.time() - scored}
    return results, rows


def sample_episodes(trainer, options: dict[str, Any]) -> list[Episode]:
    """Sample responses to this rank's evaluation prompts; the training's random numbers stay untouched."""
    accelerator, prompts, seed = trainer.accelerator, trainer.eval_prompts, trainer.config.train.seed
    share = rewards.shared_rows(len(prompts), accelerator.num_processes, accelerator.process_index)
    mine = [prompts[i] for i in share]
    config = generation_options.generation_config(trainer.tokenizer, options)
    uniforms = generation.uniforms(len(prompts), config, seed)[list(share)]
    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices), checkpoint.gathered_model(trainer.model, accelerator) as policy:
        torch.manual_seed(seed + accelerator.process_index)  # for options that transformers' `generate` has to do
        ids, bar = [p.ids for p in mine], trainer.bar("evaluate")
        chunk, graphs = trainer.method.chunk_size, trainer.config.train.cuda_graphs
        responses = generation.sample(policy.causal_lm, config, ids, uniforms, chunk, bar, cuda_graphs=graphs)
    return rewards.decode(trainer.tokenizer, mine, [response.ids for response in responses], trainer.stop_sequences)


def metrics(
    metric_fn: Callable, episodes: list[Episode], tokenizer, seconds: float | None = None
) -> dict[str, list[float]]:
    """Return a list per metric of `metric_fn`, which may take `seconds`. Raises RewardError for what is no number."""
    results = {}
    for name, values in rewards.call_naming_sample(metric_fn, episodes, tokenizer, "metric_fn", seconds).items():
        try:
            results[f"metrics/{name}"] = torch.as_tensor(values, dtype=torch.float64).flatten().tolist()
        except (TypeError, ValueError, RuntimeError) as error:
            raise rewards.RewardError(f"metric_fn: {name!r} should hold numbers, not {values!r}.") from error
    return results
