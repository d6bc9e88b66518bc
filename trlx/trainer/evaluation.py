"""Evaluating the policy: samples on the evaluation prompts, their rewards and metrics."""

import time
from typing import Any

import torch
from accelerate.utils import gather_object

from summarize_rlhf.lm import generation, generation_options
from trlx.trainer import checkpoint, rewards
from trlx.trainer.rewards import Episode


class Evaluation:
    """The part of the trainer that evaluates."""

    def evaluate(self) -> dict[str, float]:
        """Samples on the evaluation prompts, scored; once per value where `gen_kwargs` holds one list to sweep.

        Logs and returns the means over the prompts. Keeps the policy if its reward is the best so far.
        """
        results: dict[str, float] = {}
        rows: list[dict[str, Any]] = []
        for suffix, options in generation_options.sweep(self.method.gen_kwargs):
            means, samples = self.evaluate_with(options)
            results |= {key + suffix: mean for key, mean in means.items()}
            rows += samples if not suffix else [{"sweep": suffix.removeprefix("@"), **row} for row in samples]
        self.evaluated, self.evaluation_due = self.step, False
        self.log.metrics(results, self.step)
        self.log.samples(rows, self.step)
        reward = max((x for key, x in results.items() if key.startswith("reward/mean")), default=float("-inf"))
        if self.config.train.save_best and reward > self.best_reward:
            self.best_reward = reward
            self.save_pretrained(f"{self.config.train.checkpoint_dir}/best_checkpoint/hf_model")
        return results

    def evaluate_with(self, options: dict[str, Any]) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Means and samples under one set of generation options; the same samples at every call of one policy."""
        start = time.time()
        mine = self.sample_evaluation(options)
        generated = time.time()
        everyone = gather_object(mine)
        results = {"rollouts/eval_length": sum(len(e.response) for e in everyone) / len(everyone)}
        rows = [{"prompt": e.prompt_text, "output": e.text} for e in everyone]
        if self.reward_fn is not None:
            everywhere = self.config.train.reward_on_all_ranks
            scores = rewards.score(self.accelerator, self.reward_fn, mine, self.tokenizer, everywhere)
            totals = torch.tensor(gather_object([row.sum().item() for row in scores]), dtype=torch.float64)
            results |= {"reward/mean": totals.mean().item(), "reward/std": totals.std(correction=0).item()}
            rows = [row | {"reward": reward} for row, reward in zip(rows, totals.tolist(), strict=True)]
        scored = time.time()
        if self.metric_fn is not None:
            metrics = rewards.on_main_rank(self.accelerator, lambda: self.metrics(everyone))
            results |= {name: sum(values) / len(values) for name, values in metrics.items()}
            for name, values in metrics.items():
                if len(values) == len(rows):
                    rows = [row | {name: value} for row, value in zip(rows, values, strict=True)]
        results |= {"time/generate": generated - start, "time/metric": time.time() - scored}
        return results, rows

    def sample_evaluation(self, options: dict[str, Any]) -> list[Episode]:
        """This rank's evaluation prompts and the responses to them; the training's random numbers stay untouched."""
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        share = rewards.shared_rows(len(self.eval_prompts), processes, rank)
        prompts = [self.eval_prompts[i] for i in share]
        config = generation_options.generation_config(self.tokenizer, options)
        noise = generation.uniforms(len(self.eval_prompts), config, self.config.train.seed)[list(share)]
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices), checkpoint.gathered_model(self.model, self.accelerator) as policy:
            torch.manual_seed(self.config.train.seed + rank)  # for options that `generate` has to see to
            ids, bar = [p.ids for p in prompts], self.bar("evaluate")
            responses = generation.sample(policy.causal_lm, config, ids, noise, self.method.chunk_size, bar)
        return self.decode(prompts, [response.ids for response in responses])

    def metrics(self, episodes: list[Episode]) -> dict[str, list[float]]:
        """What `metric_fn` says of each episode, a list per metric. Raises RewardError for what is no number."""
        results = {}
        for name, values in rewards.call_naming_sample(self.metric_fn, episodes, self.tokenizer, "metric_fn").items():
            try:
                results[f"metrics/{name}"] = torch.as_tensor(values, dtype=torch.float64).flatten().tolist()
            except (TypeError, ValueError, RuntimeError) as error:
                raise rewards.RewardError(f"metric_fn: {name!r} should hold numbers, not {values!r}.") from error
        return results
