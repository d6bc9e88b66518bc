"""Evaluating the policy: samples on the evaluation prompts, their rewards and metrics."""

import time
from typing import Any

import torch
from accelerate.utils import gather_object

from trlx.trainer import checkpoint, generation, scoring


class Evaluation:
    """The part of the trainer that evaluates."""

    def evaluate(self) -> dict[str, float]:
        """Samples on the evaluation prompts, scored; once per value where `gen_kwargs` holds one list to sweep."""
        start = time.time()
        name, values = self.swept()
        results: dict[str, float] = {}
        for value in values:
            suffix = "" if name is None else f"@{name}={value}"
            options = self.method.gen_kwargs | ({} if name is None else {name: value})
            results |= {key + suffix: x for key, x in self.evaluate_with(options).items()}
        results["time/evaluate"] = time.time() - start
        self.log.metrics(results, self.step)
        reward = max(x for key, x in results.items() if key.startswith("reward/mean"))
        if self.config.train.save_best and reward > self.best_reward:
            self.best_reward = reward
            self.save_pretrained(f"{self.config.train.checkpoint_dir}/best_checkpoint/hf_model")
        return results

    def swept(self) -> tuple[str | None, list]:
        """The one generation option that holds a list, and its values."""
        lists = {k: v for k, v in self.method.gen_kwargs.items() if isinstance(v, list) and k != "eos_token_id"}
        if len(lists) > 1:
            raise ValueError(f"gen_kwargs: only one option can be swept, not {', '.join(lists)}.")
        return next(iter(lists.items()), (None, [None]))

    def evaluate_with(self, options: dict[str, Any]) -> dict[str, float]:
        """Reward, metrics and length under one set of generation options, the same samples at every call."""
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        prompts = [self.eval_prompts[i] for i in scoring.shared_rows(len(self.eval_prompts), processes, rank)]
        config = generation.generation_config(self.tokenizer, options)
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices), checkpoint.whole_model(self.model, self.accelerator) as policy:
            torch.manual_seed(self.config.train.seed + rank)
            ids = [p.ids for p in prompts]
            responses = generation.sample(policy.causal_lm, config, ids, self.method.chunk_size, self.bar("evaluate"))
        mine = self.decode(prompts, responses)
        everyone = gather_object(mine)
        results = {"rollouts/eval_length": sum(len(e.response) for e in everyone) / len(everyone)}
        rewards = [0.0] * len(everyone)
        if self.reward_fn is not None:
            everywhere = self.config.train.reward_on_all_ranks
            scores = scoring.score(self.accelerator, self.reward_fn, mine, self.tokenizer, everywhere)
            rewards = gather_object([row.sum().item() for row in scores])
            results |= {
                "reward/mean": sum(rewards) / len(rewards),
                "reward/std": torch.tensor(rewards).std(correction=0).item(),
            }
        if self.metric_fn is not None:
            metrics = self.metric_fn(**scoring.arguments(everyone, self.tokenizer))
            results |= {f"metrics/{k}": torch.as_tensor(v).float().mean().item() for k, v in metrics.items()}
        rows = [
            {"prompt": e.prompt_text, "output": e.text, "reward": r} for e, r in zip(everyone, rewards, strict=True)
        ]
        self.log.samples(rows, self.step)
        return results
