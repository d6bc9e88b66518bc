"""PPO: generate → score → log-probabilities and values → rewards → advantages → update.

Shapes: N rollouts of this rank, Q prompt, R response, H hidden. Entry t of a row (R) belongs to response token t; its
value precedes it. A *rollout* is one episode: a prompt, the response sampled for it, and its score. The formulas stand
in `trlx/utils/modeling.py`, the loss in `trlx/models/modeling_ppo.py`.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from tqdm.auto import tqdm

from summarize_rlhf.lm import end_of_response, generation
from summarize_rlhf.run.preemption import Preempted
from trlx.data.configs import TRLConfig
from trlx.models.modeling_ppo import PPOConfig
from trlx.pipeline.rollouts import Batch, Rollout, collate, minibatches
from trlx.trainer import rewards, setup
from trlx.trainer.accelerate_base_trainer import AccelerateRLTrainer
from trlx.trainer.checkpoint import Collection, Progress, check_best, gathered_model
from trlx.trainer.experience import PerToken, logprobs_and_values, make_rollouts, padded, scale_scores
from trlx.trainer.rewards import Episode
from trlx.utils.modeling import RunningMoments, explained_variance, kl_penalised_rewards, masked_mean


class AcceleratePPOTrainer(AccelerateRLTrainer):
    """trlX's PPO trainer. `trlx.train` builds it, calls `learn` and returns it.

    `identity` (of `train.trainer_kwargs`): what must be the same, besides the configuration, where a run resumes.
    """

    def __init__(
        self,
        config: TRLConfig,
        reward_fn: Callable | None = None,
        metric_fn: Callable | None = None,
        stop_sequences: list[str] | None = None,
        identity: dict[str, Any] | None = None,
    ):
        super().__init__(config, reward_fn, metric_fn, stop_sequences)
        self.kl_controller = self.method.kl_controller()
        self.moments = RunningMoments()
        self.ref_std = self.method.ref_std
        self.iteration = 0  # collections so far
        self.collection: Collection | None = None  # the rollouts in use
        self.accelerator.register_for_checkpointing(Progress(self))

    def learn(self) -> None:
        """Collect and optimise until `epochs` or `total_steps` is reached; evaluate and save on the way.

        A loaded run goes on in the middle of whatever it was at. SIGTERM and SIGINT end it with a checkpoint.
        """
        train = self.config.train
        self.log.start(resumed=self.resumed)
        setup.start_trackers(self.accelerator, self.config, self.resumed)
        total = min(train.total_steps, train.epochs * self.plan.batches_per_collection)
        hide = not self.accelerator.is_main_process
        with self.preemption, tqdm(total=total, initial=self.step, desc="PPO", unit="batch", disable=hide) as bar:
            try:
                if self.evaluation_due:
                    self.evaluate()
                while self.step < train.total_steps and (self.collection or self.iteration < train.epochs):
                    if self.collection is None:
                        self.collect(bar)
                    self.optimise(self.collection, bar)
            except rewards.RewardError:
                if self.saved != self.step:
                    self.save()  # nothing is lost but the samples
                raise
        if self.evaluated != self.step:
            self.evaluate()
        if self.saved != self.step:
            self.save()
        self.finish_trackers()
        check_best(self)

    def collect(self, bar: tqdm) -> None:
        """Set `collection` to new rollouts. If that fails, the trainer is as it was before."""
        position = self.cursor.position
        try:
            rollouts, stats = self.make_experience()
        except rewards.RewardError:
            self.cursor.position = position
            raise
        self.collection = Collection(rollouts, stats["policy/kl"])
        self.log.metrics(stats, self.step)
        bar.set_postfix(score=f"{stats['rollout_scores/mean']:.3f}", kl=f"{stats['policy/kl']:.2f}")
        for text in self.guards.collection(stats):
            self.say(text)
        self.checkpoint(due=False)

    def make_experience(self) -> tuple[list[Rollout], dict[str, float]]:
        """Collect `num_rollouts` episodes over all ranks; return this rank's, and statistics over all of them."""
        accelerator, method, train, start = self.accelerator, self.method, self.config.train, time.time()
        device, count = accelerator.device, method.num_rollouts
        rows = self.cursor.take(count)  # alike on every rank
        share = rewards.shared_rows(count, accelerator.num_processes, accelerator.process_index)
        prompts = [self.prompts[rows[i]] for i in share]

        # The random numbers are the collection's, whatever the number of processes: so are the responses.
        uniforms = generation.uniforms(count, self.rollout_generation, train.seed, self.iteration)[list(share)]
        with gathered_model(self.model, accelerator) as policy:
            ids, bar, model = [p.ids for p in prompts], self.bar("rollouts"), policy.causal_lm
            responses = generation.sample(
                model, self.rollout_generation, ids, uniforms, method.chunk_size, bar, policy.trunk_depth,
                train.cuda_graphs,
            )  # fmt: skip
        generated = time.time()
        episodes = rewards.decode(self.tokenizer, prompts, [r.ids for r in responses], self.stop_sequences)
        everywhere, seconds = train.reward_on_all_ranks, train.reward_timeout
        scores = rewards.score(accelerator, self.reward_fn, episodes, self.tokenizer, everywhere, seconds)
        scores = rewards.replace_unfinished(scores, episodes, self.rollout_generation, method.score_without_eos)
        scored = time.time()
        outputs = logprobs_and_values(
            self.model, episodes, [r.trunk for r in responses], self.temperature, method.chunk_size,
            self.plan.largest_share, device,
        )  # fmt: skip
        tokens = padded(episodes, outputs, device)  # (N, R) each
        totals, scaled, self.ref_std = scale_scores(scores, method, self.moments, self.ref_std)
        kl_coef = self.kl_controller.value
        per_token = kl_penalised_rewards(tokens.logprobs, tokens.ref_logprobs, scaled.to(device), tokens.mask, kl_coef)
        advantages, returns = method.get_advantages_and_returns(tokens.values, per_token, mask=tokens.mask)
        rollouts = make_rollouts(episodes, outputs, advantages.cpu(), returns.cpu())

        self.log.rollouts(gather_object(rewards.as_rows(episodes, scores)), self.iteration)
        self.iteration += 1
        return rollouts, self.rollout_statistics(episodes, tokens) | {
            "values/explained_variance": explained_variance(tokens.values, returns, tokens.mask).item(),
            "rollout_scores/mean": totals.mean().item(),
            "rollout_scores/std": totals.std(correction=0).item(),
            "rollout_scores/running_mean": self.moments.mean,
            "rollout_scores/running_std": self.moments.std,
            "kl_ctl_value": kl_coef,
            "time/rollout_generate": generated - start,
            "time/rollout_score": scored - generated,
            "time/rollout_time": time.time() - start,
        }

    def rollout_statistics(self, episodes: list[Episode], tokens: PerToken) -> dict[str, float]:
        """Return KL and entropy in nats, length and EOS rate of the responses, over all ranks."""
        log_ratio = (tokens.logprobs - tokens.ref_logprobs) * tokens.mask  # (N, R)
        sums = {
            "policy/kl": log_ratio.sum(),  # k1 estimator
            "policy/sqrt_kl": ((-log_ratio).exp() - 1 + log_ratio).sum(),  # k3 estimator: never negative
            "rollouts/entropy": (tokens.entropy * tokens.mask).sum(),
            "rollouts/response_length": sum(len(e.response) for e in episodes),
            "rollouts/eos_rate": sum(end_of_response.has_ended(e.response, self.rollout_generation) for e in episodes),
        }
        totals = self.sum_over_ranks([float(x) for x in sums.values()])
        stats = {name: total / self.method.num_rollouts for name, total in zip(sums, totals, strict=True)}
        stats["policy/sqrt_kl"] **= 0.5
        stats["policy/kl_per_token"] = stats["policy/kl"] / stats["rollouts/response_length"]
        stats["rollouts/entropy"] /= stats["rollouts/response_length"]
        return stats

    def optimise(self, collection: Collection, bar: tqdm) -> None:
        """Do what is left of `ppo_epochs` shuffled passes over a collection's rollouts."""
        train, batches, rollouts = self.config.train, self.accumulation, collection.rollouts
        while collection.epoch < self.method.ppo_epochs and self.step < train.total_steps:
            for micro_batches in self.updates_left(collection):
                stats = self.update([[rollouts[i] for i in rows] for rows in micro_batches], rollouts[0])
                self.step += batches
                collection.update += 1
                bar.update(batches)
                self.log.metrics(stats, self.step)
                for text in self.guards.update(stats, self.step):
                    self.say(text)
                if collection.update == self.plan.updates_per_epoch:
                    collection.epoch, collection.update = collection.epoch + 1, 0
                if collection.epoch == self.method.ppo_epochs:
                    self.close_collection()
                self.evaluation_due = self.passed(train.eval_interval, batches)
                if self.evaluation_due:
                    self.evaluate()
                self.checkpoint(due=self.passed(train.checkpoint_interval, batches))
                if self.step >= train.total_steps:
                    return

    def updates_left(self, collection: Collection) -> list[list[list[int]]]:
        """Return the updates that a PPO epoch still has, each as micro-batches of rows; the seed decides the order."""
        plan, seed = self.plan, self.config.train.seed
        lengths = [len(r.prompt) + len(r.response) for r in collection.rollouts]
        order = generation.random_stream(seed, self.iteration, collection.epoch, self.accelerator.process_index)
        updates = minibatches(lengths, plan.rollouts_per_update, plan.micro_batches, plan.updates_per_epoch, order)
        return list(updates)[collection.update :]

    def update(self, micro_batches: list[list[Rollout]], stand_in: Rollout) -> dict[str, float]:
        """Do one optimizer update, its gradient that of the micro-batches' union over all ranks. Returns statistics.

        A micro-batch's loss is its sum over tokens divided by the mean number of tokens per micro-batch. So DDP's and
        DeepSpeed's averages over micro-batches and ranks give the mean over all tokens, however rollouts were split.
        An empty micro-batch runs `stand_in` under a mask of zeros, because every rank must join in.
        """
        forward = backward = 0.0  # seconds
        tokens = sum(len(r.response) for rollouts in micro_batches for r in rollouts)
        n = self.sum_over_ranks([tokens])[0] / (len(micro_batches) * self.accelerator.num_processes)
        sums: dict[str, Tensor] = {}
        self.policy.checkpoint_blocks(self.config.train.gradient_checkpointing)
        for rollouts in micro_batches:
            batch = collate(rollouts or [stand_in])
            if not rollouts:
                batch = batch._replace(mask=torch.zeros_like(batch.mask))
            batch = batch.to(self.accelerator.device)
            with self.accelerator.accumulate(self.model):
                forward -= time.time()
                loss, stats = loss_of(self.model, batch, self.method, self.temperature, n)
                forward += time.time()
                backward -= time.time()
                self.accelerator.backward(loss)
                backward += time.time()
                if self.accelerator.sync_gradients:
                    norm = self.clip_gradient()
                self.optimizer.step()
                self.optimizer.zero_grad()
            share = batch.mask.sum() / n  # losses are sums over n already, the rest are means over the micro-batch
            for name, value in stats.items():
                weighted = value.detach() * (1.0 if name.startswith("losses/") else share) / len(micro_batches)
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
        """Clip the gradient of all trained parameters to `max_grad_norm`, if there is one; return its norm before.

        DeepSpeed clips in its own step (`gradient_clipping`), which has happened by now.
        """
        limit = self.config.train.max_grad_norm
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return self.accelerator.clip_grad_norm_(trained, float("inf") if limit is None else limit) or 0.0

    def close_collection(self) -> None:
        """Once its rollouts are used up: the KL coefficient follows the KL that was measured on them."""
        self.kl_controller.update(self.collection.kl, self.method.num_rollouts)
        self.collection = None

    def checkpoint(self, due: bool) -> None:
        """Save where it is `due` by steps or by the clock, or where a signal has come: then the run ends."""
        ending, late = self.preemption.agree()
        if due or late or ending:
            self.save()
        if ending:
            self.say(f"saved at step {self.step}; the same command goes on from there")
            self.finish_trackers()
            raise Preempted

    def finish_trackers(self) -> None:
        """Close the trackers, on all ranks. Not `end_training()`: the caller may go on to generate."""
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def passed(self, interval: int, batches: int) -> bool:
        """Return whether a multiple of `interval` lies within the last `batches` training batches."""
        return self.step // interval > (self.step - batches) // interval

    def sum_over_ranks(self, values: list[float]) -> list[float]:
        """Sum each value over all ranks, in fp64."""
        totals = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        return self.accelerator.reduce(totals, reduction="sum").tolist()


def loss_of(
    model: torch.nn.Module, batch: Batch, method: PPOConfig, temperature: float, n: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a micro-batch's loss, a sum over its tokens divided by `n`, and its statistics."""
    ids = (batch.tokens, batch.prompt_lengths, batch.responses)
    out = model(*ids, temperature, trunk=batch.trunk, keep_from=batch.keep_from)
    old = (batch.logprobs, batch.values, batch.advantages, batch.returns)
    loss, stats = method.loss(out.logprobs, out.values, *old, batch.mask, n)
    return loss, stats | {"policy/entropy": masked_mean(out.entropy, batch.mask)}
