"""From sampled responses and their scores to rollouts: what the models say of the tokens, and the scores' scale.

Shapes: N episodes of this rank, Q prompt, R response, H hidden.
"""

from typing import NamedTuple

import torch
from accelerate.utils import gather_object
from torch import Tensor

from trlx.models.modeling_ppo import PPOConfig
from trlx.pipeline.rollouts import Rollout, collate_tokens, pad
from trlx.trainer.rewards import Episode
from trlx.utils.modeling import RunningMoments


class PerToken(NamedTuple):
    """What policy, value head and reference say of the sampled tokens, padded with zeros: (N, R) each."""

    mask: Tensor  # 1 on response tokens
    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor  # nats


@torch.no_grad()
def logprobs_and_values(
    model: torch.nn.Module,
    episodes: list[Episode],
    trunks: list[Tensor | None],
    temperature: float,
    chunk_size: int,
    largest_share: int,
    device: torch.device,
) -> list[dict[str, Tensor]]:
    """Return what policy, value head and reference say of each episode's ids, (R) each; and its trunk (Q + R, H).

    `trunks` are the frozen trunk's outputs that sampling kept, (at least Q + R, H) each; without them they are computed
    here. Every rank makes the forward passes of the rank with the `largest_share` of episodes.
    """
    outputs: list[dict[str, Tensor]] = [{}] * len(episodes)
    order = sorted(range(len(episodes)), key=lambda i: len(episodes[i].prompt) + len(episodes[i].response))
    for start in range(0, largest_share, chunk_size):
        rows = order[start : start + chunk_size] or order[:1]  # every rank must join in each forward pass
        batch = collate_tokens([episodes[i].prompt for i in rows], [episodes[i].response for i in rows])
        if trunks[rows[0]] is not None:
            kept = [trunks[i][: len(episodes[i].prompt) + len(episodes[i].response)] for i in rows]
            batch = batch._replace(trunk=pad(kept))
        batch = batch.to(device)
        ids = (batch.tokens, batch.prompt_lengths, batch.responses)
        out = model(*ids, temperature, batch.trunk, with_reference=True, keep_from=batch.keep_from)
        for k, i in enumerate(rows):
            response = len(episodes[i].response)
            length = len(episodes[i].prompt) + response
            names = ("logprobs", "ref_logprobs", "values", "entropy")
            outputs[i] = {name: getattr(out, name)[k, :response].cpu() for name in names}
            outputs[i]["trunk"] = None if out.trunk is None else out.trunk[k, :length].clone()
    return outputs


def padded(episodes: list[Episode], outputs: list[dict[str, Tensor]], device: torch.device) -> PerToken:
    """Pad the outputs of `logprobs_and_values` to (N, R)."""
    mask = collate_tokens([e.prompt for e in episodes], [e.response for e in episodes]).mask
    columns = [pad([output[name] for output in outputs]) for name in PerToken._fields[1:]]
    return PerToken(*(x.to(device) for x in (mask, *columns)))


def scale_scores(
    scores: list[Tensor], method: PPOConfig, moments: RunningMoments, ref_std: float | None
) -> tuple[Tensor, Tensor, float]:
    """Return every rank's scores as sums per episode, as they came; this rank's clipped, then scaled; and `ref_std`.

    `scores` are () or, for a reward per token, (R) each; scaled they are (N,) or (N, R). In the order of trlX's
    `make_experience`: each score is clipped (of a reward per token, each token's), the clipped scores (their sums) move
    the running moments, and the clipped scores are divided by the spread. So with "running" or "ref" the bound of what
    PPO sees is `cliprange_reward` / spread. A spread of zero divides nothing.
    """
    bound = method.cliprange_reward or float("inf")
    clipped = [row.clamp(-bound, bound) for row in scores]
    sums = gather_object([(row.sum().item(), kept.sum().item()) for row, kept in zip(scores, clipped, strict=True)])
    totals, clipped_totals = torch.tensor(sums, dtype=torch.float64).unbind(1)
    _, std = moments.update(clipped_totals)
    if ref_std is None:
        ref_std = std
    spread = {"running": moments.std, "ref": ref_std}.get(method.scale_reward) or 1.0
    scaled = [row / spread for row in clipped]
    return totals, (pad(scaled) if scaled[0].dim() == 1 else torch.stack(scaled)), ref_std


def make_rollouts(
    episodes: list[Episode], outputs: list[dict[str, Tensor]], advantages: Tensor, returns: Tensor
) -> list[Rollout]:
    """Make a rollout of each episode; `advantages` and `returns` (N, R) lose their padding."""
    return [
        Rollout(
            episode.prompt,
            episode.response,
            output["logprobs"],
            output["values"],
            advantage[: len(episode.response)],
            return_[: len(episode.response)],
            output["trunk"],
        )
        for episode, output, advantage, return_ in zip(episodes, outputs, advantages, returns, strict=True)
    ]
