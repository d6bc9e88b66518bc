"""Optimising the policy on a collection of rollouts: shuffled PPO epochs, exact under any split into micro-batches."""

import time

import torch
from torch import Tensor
from tqdm.auto import tqdm

from summarize_rlhf.lm.generation import random_stream
from trlx.pipeline.rollouts import Rollout, collate, minibatches
from trlx.trainer.checkpoint import Collection
from trlx.utils.modeling import masked_mean


class Optimisation:
    """The part of the trainer that updates the policy."""

    def batches_per_update(self) -> int:
        """How many training batches one optimizer update takes: the launcher's gradient accumulation."""
        train = self.config.train
        return self.parts // -(-train.batch_size // (train.minibatch_size or train.batch_size))

    def largest_share(self) -> int:
        """Rollouts of the rank that has the most: what every rank must keep step with."""
        return -(-self.method.num_rollouts // self.accelerator.num_processes)

    def updates_per_epoch(self) -> int:
        """The same on every rank."""
        return -(-self.largest_share() // (self.config.train.batch_size * self.batches_per_update()))

    def optimise(self, collection: Collection, bar: tqdm) -> None:
        """What is left of `ppo_epochs` shuffled passes over a collection's rollouts."""
        train, batches, rollouts = self.config.train, self.batches_per_update(), collection.rollouts
        while collection.epoch < self.method.ppo_epochs and self.step < train.total_steps:
            for parts in self.updates_left(collection):
                stats = self.update([[rollouts[i] for i in rows] for rows in parts], rollouts[0])
                self.step += batches
                collection.update += 1
                bar.update(batches)
                self.log.metrics(stats, self.step)
                for text in self.guards.update(stats, self.step):
                    self.say(text)
                if collection.update == self.updates_per_epoch():
                    collection.epoch, collection.update = collection.epoch + 1, 0
                if collection.epoch == self.method.ppo_epochs:
                    self.close_collection()
                self.evaluation_due = self.passed(train.eval_interval, batches)
                if self.evaluation_due:
                    self.evaluate()
                self.keep_or_end(due=self.passed(train.checkpoint_interval, batches))
                if self.step >= train.total_steps:
                    return

    def updates_left(self, collection: Collection) -> list[list[list[int]]]:
        """The updates that a PPO epoch still has, each as micro-batches of rows; the order follows from the seed."""
        train = self.config.train
        lengths = [len(r.prompt) + len(r.response) for r in collection.rollouts]
        size = train.batch_size * self.batches_per_update()
        order = random_stream(train.seed, self.iteration, collection.epoch, self.accelerator.process_index)
        updates = list(minibatches(lengths, size, self.parts, self.updates_per_epoch(), order))
        return updates[collection.update :]

    def passed(self, interval: int, batches: int) -> bool:
        """Whether a multiple of `interval` lies within the last `batches` training batches."""
        return self.step // interval > (self.step - batches) // interval

    def update(self, parts: list[list[Rollout]], stand_in: Rollout) -> dict[str, float]:
        """One optimizer update on micro-batches `parts`, its gradient that of their union over all ranks.

        A micro-batch's loss is its sum over tokens divided by the mean number of tokens per micro-batch; so
        DDP's and DeepSpeed's averages over micro-batches and ranks give the mean over all tokens, however the
        rollouts were split. Empty parts run `stand_in` under a mask of zeros, because every rank must join in.
        """
        forward = backward = 0.0  # seconds
        tokens = sum(len(r.response) for rollouts in parts for r in rollouts)
        n = self.sum_over_ranks([tokens])[0] / (len(parts) * self.accelerator.num_processes)
        sums: dict[str, Tensor] = {}
        self.policy.checkpoint_blocks(self.config.train.gradient_checkpointing)
        for rollouts in parts:
            batch = collate(rollouts or [stand_in])
            if not rollouts:
                batch = batch._replace(mask=torch.zeros_like(batch.mask))
            batch = batch.to(self.accelerator.device)
            with self.accelerator.accumulate(self.model):
                forward -= time.time()
                rows_of = (batch.tokens, batch.prompt_lengths, batch.responses)
                out = self.model(*rows_of, self.temperature, trunk=batch.trunk, keep_from=batch.keep_from)
                old = (batch.logprobs, batch.values, batch.advantages, batch.returns)
                loss, stats = self.method.loss(out.logprobs, out.values, *old, batch.mask, n)
                forward += time.time()
                backward -= time.time()
                self.accelerator.backward(loss)
                backward += time.time()
                if self.accelerator.sync_gradients:
                    norm = self.clip_gradient()
                self.optimizer.step()
                self.optimizer.zero_grad()
            stats["policy/entropy"] = masked_mean(out.entropy, batch.mask)
            share = batch.mask.sum() / n  # losses are sums over n already, the rest are means over the part
            for name, value in stats.items():
                weighted = value.detach() * (1.0 if name.startswith("losses/") else share) / len(parts)
                sums[name] = sums.get(name, 0.0) + weighted
        self.policy.checkpoint_blocks(False)
        self.scheduler.step()
        means = self.accelerator.reduce(torch.stack(list(sums.values())), reduction="mean").tolist()
        return dict(zip(sums, means, strict=True)) | {
            "policy/gradient_norm": float(norm),
            "learning_rate_group_0": self.scheduler.get_last_lr()[0],
            "time/forward": forward,
            "time/backward": backward,
        }

    def clip_gradient(self) -> float:
        """The gradient's norm over all trained parameters, clipped to `max_grad_norm` if there is one.

        DeepSpeed clips in its own step (`gradient_clipping`), which has happened by now.
        """
        limit = self.config.train.max_grad_norm
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return self.accelerator.clip_grad_norm_(trained, float("inf") if limit is None else limit) or 0.0
