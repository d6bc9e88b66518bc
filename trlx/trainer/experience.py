"""Collecting rollouts: generate → decode → score → log-probabilities and values → rewards → store.

Shapes: B batch, R response. `values[:, t]` precedes token t of the response.
A *rollout* is one episode: a prompt, the response sampled for it, and its score.
"""

import time

import torch
from accelerate.utils import gather_object
from torch import Tensor

from summarize_rlhf.lm import end_of_response, generation
from summarize_rlhf.lm.decoding import Response
from trlx.pipeline.offline_pipeline import Prompt
from trlx.pipeline.rollouts import Rollout, collate_tokens, pad
from trlx.trainer import checkpoint, rewards
from trlx.trainer.rewards import Episode
from trlx.utils.modeling import explained_variance, kl_penalised_rewards


class Experience:
    """The part of the trainer that makes rollouts. Every phase is a method; each rank works on its share."""

    def make_experience(self) -> tuple[list[Rollout], dict[str, float]]:
        """Collects `num_rollouts` episodes over all ranks; returns this rank's, and statistics over all of them."""
        start = time.time()
        rows = self.cursor.take(self.method.num_rollouts)  # alike on every rank
        share = rewards.shared_rows(len(rows), self.accelerator.num_processes, self.accelerator.process_index)
        prompts = [self.prompts[rows[i]] for i in share]

        responses = self.generate_responses(prompts, share)
        generated = time.time()
        episodes = self.decode(prompts, [response.ids for response in responses])
        everywhere = self.config.train.reward_on_all_ranks
        scores = rewards.score(self.accelerator, self.reward_fn, episodes, self.tokenizer, everywhere)
        scored = time.time()
        outputs = self.logprobs_and_values(episodes, [response.trunk for response in responses])
        totals, scaled = self.scale(scores)
        rollouts, stats = self.store(episodes, outputs, scaled)

        texts = [
            {"prompt": e.prompt_text, "output": e.text, "score": s.sum().item()}
            for e, s in zip(episodes, scores, strict=True)
        ]
        self.log.rollouts(gather_object(texts), self.iteration)
        self.iteration += 1
        stats |= {
            "rollout_scores/mean": totals.mean().item(),
            "rollout_scores/std": totals.std(correction=0).item(),
            "rollout_scores/running_mean": self.moments.mean,
            "rollout_scores/running_std": self.moments.std,
            "kl_ctl_value": self.kl_controller.value,
            "time/rollout_generate": generated - start,
            "time/rollout_score": scored - generated,
            "time/rollout_time": time.time() - start,
        }
        return rollouts, stats

    def generate_responses(self, prompts: list[Prompt], share: range) -> list[Response]:
        """Phase 1: sampled ids, and what the frozen trunk made of them and their prompts.

        The random numbers are those of the whole collection, of which this rank has the rows `share`: the same
        policy samples the same responses on any number of processes.
        """
        config, method = self.rollout_generation, self.method
        noise = generation.uniforms(method.num_rollouts, config, self.config.train.seed, self.iteration)[list(share)]
        with checkpoint.gathered_model(self.model, self.accelerator) as policy:
            ids, bar = [p.ids for p in prompts], self.bar("rollouts")
            return generation.sample(policy.causal_lm, config, ids, noise, method.chunk_size, bar, policy.trunk_depth)

    def decode(self, prompts: list[Prompt], responses: list[list[int]]) -> list[Episode]:
        """Phase 2: text, for `reward_fn` and logs alone. Stop sequences end a response here."""
        episodes = []
        for prompt, response in zip(prompts, responses, strict=True):
            response, text = end_of_response.cut_at_stop(self.tokenizer, prompt.ids, response, self.stop_sequences)
            episodes.append(Episode(prompt.ids, response, prompt.text, text, prompt.metadata))
        return episodes

    @torch.no_grad()
    def logprobs_and_values(self, episodes: list[Episode], trunks: list[Tensor | None]) -> list[dict[str, Tensor]]:
        """Phase 4: what policy, value head and reference say of the sampled ids, (R) each; and the trunk's output.

        `trunks` are what sampling kept of it, (at least Q + R, H) each; without them it is computed here.
        """
        outputs: list[dict[str, Tensor]] = [{}] * len(episodes)
        order = sorted(range(len(episodes)), key=lambda i: len(episodes[i].prompt) + len(episodes[i].response))
        for start in range(0, self.largest_share(), self.method.chunk_size):
            rows = order[start : start + self.method.chunk_size] or order[:1]  # every rank must join in each forward
            batch = collate_tokens([episodes[i].prompt for i in rows], [episodes[i].response for i in rows])
            if trunks[rows[0]] is not None:
                kept = [trunks[i][: len(episodes[i].prompt) + len(episodes[i].response)] for i in rows]
                batch = batch._replace(trunk=pad(kept))
            batch = batch.to(self.accelerator.device)
            rows_of = (batch.tokens, batch.prompt_lengths, batch.responses)
            out = self.model(*rows_of, self.temperature, batch.trunk, with_reference=True, keep_from=batch.keep_from)
            for k, i in enumerate(rows):
                response = len(episodes[i].response)
                length = len(episodes[i].prompt) + response
                outputs[i] = {
                    name: getattr(out, name)[k, :response].cpu()
                    for name in ("logprobs", "values", "entropy", "ref_logprobs")
                }
                outputs[i]["trunk"] = None if out.trunk is None else out.trunk[k, :length].clone()
        return outputs

    def scale(self, scores: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Every rank's scores as sums per episode (N), as they came; and this rank's clipped, then scaled.

        In the order of trlX's `make_experience`: each score is clipped (of a reward per token, each token's), the
        clipped scores (their sums) move the running moments, and the clipped scores are divided by the spread. So with
        "running" or "ref" the bound of what PPO sees is `cliprange_reward` / spread. A spread of zero divides nothing.
        """
        bound = self.method.cliprange_reward or float("inf")
        clipped = [row.clamp(-bound, bound) for row in scores]
        sums = gather_object([(row.sum().item(), kept.sum().item()) for row, kept in zip(scores, clipped, strict=True)])
        totals, clipped_totals = torch.tensor(sums, dtype=torch.float64).unbind(1)
        _, std = self.moments.update(clipped_totals)
        if self.ref_std is None:
            self.ref_std = std
        spread = {"running": self.moments.std, "ref": self.ref_std}.get(self.method.scale_reward) or 1.0
        return totals, [row / spread for row in clipped]

    def store(
        self, episodes: list[Episode], outputs: list[dict[str, Tensor]], scores: list[Tensor]
    ) -> tuple[list[Rollout], dict[str, float]]:
        """Phase 5 and 6: KL-penalised rewards, advantages whitened over all ranks, and the rollouts made of them."""
        device = self.accelerator.device
        mask = collate_tokens([e.prompt for e in episodes], [e.response for e in episodes]).mask.to(device)
        logprobs, values, ref_logprobs, entropy = (
            pad([output[name] for output in outputs]).to(device)
            for name in ("logprobs", "values", "ref_logprobs", "entropy")
        )
        dense = scores[0].dim() == 1
        rewards = kl_penalised_rewards(
            logprobs,
            ref_logprobs,
            (pad(scores) if dense else torch.stack(scores)).to(device),
            mask,
            self.kl_controller.value,
        )
        advantages, returns = self.method.get_advantages_and_returns(values, rewards, mask=mask)
        rollouts = [
            Rollout(
                episode.prompt,
                episode.response,
                output["logprobs"],
                output["values"],
                advantage[: len(episode.response)].cpu(),
                return_[: len(episode.response)].cpu(),
                output["trunk"],
            )
            for episode, output, advantage, return_ in zip(episodes, outputs, advantages, returns, strict=True)
        ]
        stats = self.rollout_statistics(episodes, (logprobs - ref_logprobs) * mask, entropy * mask)
        return rollouts, stats | {"values/explained_variance": explained_variance(values, returns, mask).item()}

    def rollout_statistics(self, episodes: list[Episode], log_ratio: Tensor, entropy: Tensor) -> dict[str, float]:
        """KL and entropy in nats, length and EOS rate of the responses, over all ranks."""
        sums = {
            "policy/kl": log_ratio.sum(),  # k1 estimator
            "policy/sqrt_kl": ((-log_ratio).exp() - 1 + log_ratio).sum(),  # k3 estimator: never negative
            "rollouts/entropy": entropy.sum(),
            "rollouts/response_length": sum(len(e.response) for e in episodes),
            "rollouts/eos_rate": sum(end_of_response.has_ended(e.response, self.rollout_generation) for e in episodes),
        }
        totals = self.sum_over_ranks([float(x) for x in sums.values()])
        stats = {name: total / self.method.num_rollouts for name, total in zip(sums, totals, strict=True)}
        stats["policy/sqrt_kl"] **= 0.5
        stats["policy/kl_per_token"] = stats["policy/kl"] / stats["rollouts/response_length"]
        stats["rollouts/entropy"] /= stats["rollouts/response_length"]
        return stats
