"""PPO's hyperparameters, its loss and its KL controllers (Schulman et al. 2017; Ziegler et al. 2019).

Shapes: B batch, R response. `mask` (B, R) is 1 on response tokens, EOS included. `values[:, t]` precedes token t.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trlx.data.method_configs import MethodConfig
from trlx.data.options import option
from trlx.models.policy import PolicyWithValueHead as AutoModelForCausalLMWithHydraValueHead
from trlx.utils.modeling import flatten_dict, gae, masked_mean, whiten

__all__ = [
    "AdaptiveKLController",
    "AutoModelForCausalLMWithHydraValueHead",
    "FixedKLController",
    "PPOConfig",
    "ppo_loss",
]


def ppo_loss(
    logprobs: Tensor,  # (B, R) log π of the response tokens
    values: Tensor,  # (B, R)
    old_logprobs: Tensor,  # (B, R) the same under the policy that sampled them
    old_values: Tensor,  # (B, R)
    advantages: Tensor,  # (B, R)
    returns: Tensor,  # (B, R)
    mask: Tensor,  # (B, R)
    *,
    cliprange: float,
    cliprange_value: float,
    vf_coef: float,
    n: Tensor | float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return policy loss + vf_coef · value loss, a scalar, and statistics (Schulman et al. 2017, eq. 7 and 9).

    Means are over response tokens. `n` replaces their number in the losses: a micro-batch passes its share of the
    batch's, so that accumulated gradients are those of the batch.
    """
    mask = mask.to(values.dtype)
    n = mask.sum().clamp(min=1) if n is None else n

    # ½ mean max((V − G)², (V_old + clip(V − V_old, ± cliprange_value) − G)²)
    clipped_values = old_values + (values - old_values).clamp(-cliprange_value, cliprange_value)
    value_errors = (values - returns) ** 2
    clipped_errors = (clipped_values - returns) ** 2
    value_loss = 0.5 * (torch.max(value_errors, clipped_errors) * mask).sum() / n

    # mean max(−A · ratio, −A · clip(ratio, 1 ± cliprange)), where ratio = π / π_old
    log_ratio = (logprobs - old_logprobs) * mask
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    policy_loss = (torch.max(unclipped, clipped) * mask).sum() / n

    loss = policy_loss + vf_coef * value_loss
    with torch.no_grad():
        stats = {
            "losses": {"total_loss": loss, "policy_loss": policy_loss, "value_loss": value_loss},
            "values": {
                "mean": masked_mean(values, mask),
                "values_error": masked_mean(value_errors, mask),
                "clipfrac": masked_mean((clipped_errors > value_errors).float(), mask),
            },
            "old_values": {"mean": masked_mean(old_values, mask)},
            "returns": {"mean": masked_mean(returns, mask)},
            "policy": {
                "approx_kl": masked_mean(ratio - 1 - log_ratio, mask),  # k3 of joschu.net/blog/kl-approx.html
                "clipfrac": masked_mean((clipped > unclipped).float(), mask),
            },
            "ratio": masked_mean(ratio, mask),
        }
    return loss, flatten_dict(stats)


class AdaptiveKLController:
    """A KL coefficient that steers the KL of an episode towards a target (Ziegler et al. 2019, section 2.2).

        error = clip(KL / target − 1, −0.2, 0.2)          coefficient *= 1 + error * episodes / horizon

    `target` is in nats per episode, `horizon` in episodes.
    """

    def __init__(self, init_kl_coef: float, target: float, horizon: int):
        self.value = init_kl_coef
        self.target = target
        self.horizon = horizon

    def update(self, current: float, n_steps: int) -> None:
        """Follow `current`, the mean KL of a response in nats, as measured on `n_steps` episodes."""
        error = min(max(current / self.target - 1, -0.2), 0.2)
        self.value *= 1 + error * n_steps / self.horizon


class FixedKLController:
    """A constant KL coefficient."""

    def __init__(self, kl_coef: float):
        self.value = kl_coef

    def update(self, current: float, n_steps: int) -> None:
        """Do nothing. The arguments are those of the adaptive controller."""


@dataclass
class PPOConfig(MethodConfig):
    """PPO, by trlX 0.7's names."""

    ppo_epochs: int = option(4, "passes over the rollouts of a collection", least=1)
    num_rollouts: int = option(128, "episodes per collection, of all processes together", least=1)
    num_minibatches: int | None = option(
        None,
        "updates in each PPO epoch, as near as whole training batches allow; null: train.batch_size × the launcher's "
        "gradient accumulation rollouts per process and update",
        least=1,
    )
    chunk_size: int = option(
        128, "prompts generated for at once, per process (memory and speed alone)", least=1, may_change=True
    )
    init_kl_coef: float = option(0.001, "first coefficient of the KL penalty", least=0)
    target: float | None = option(None, "KL to steer towards, in nats per episode; null: fixed coefficient", above=0)
    horizon: int = option(10000, "episodes over which the coefficient adapts", least=1)
    gamma: float = option(1.0, "discount per token", least=0, most=1)
    lam: float = option(0.95, "lambda of the advantage estimate (GAE)", least=0)
    cliprange: float = option(0.2, "ratio is clipped to 1 ± this", above=0)
    cliprange_value: float = option(0.2, "change of a value is clipped to ± this", above=0)
    vf_coef: float = option(1.0, "weight of the value loss", least=0)
    scale_reward: str | bool | None = option(
        None,
        'divisor of the clipped scores: null or "ignored": none; "running": std of all clipped scores so far; "ref": '
        "ref_std, else std of the first collection",
    )
    ref_mean: float | None = option(None, "accepted as in trlX, without effect there and here")
    ref_std: float | None = option(None, 'divisor where scale_reward is "ref"', above=0)
    cliprange_reward: float | None = option(10.0, "scores are first clipped to ± this; 0 or null: not", least=0)
    score_without_eos: float | None = option(
        None, "score of a response that does not end with EOS, in place of reward_fn's, for rollouts; null: reward_fn's"
    )
    gen_kwargs: dict[str, Any] = option(dict, "options of generate, in evaluation; one list among the values is swept")
    gen_experience_kwargs: dict[str, Any] | None = option(
        None, "options of generate, for rollouts; null: gen_kwargs, with the first value of a sweep"
    )
    num_value_layers_unfrozen: int = option(
        0,
        "top blocks of which the value function trains a copy; 0: it reads the policy's; -1: a whole model of its own",
        least=-1,
    )
    value_model: str | None = option(
        None, "reward model or PPO checkpoint that the value function starts from; null: random head"
    )

    def __post_init__(self):
        if self.scale_reward not in (None, "ignored", "running", "ref", False):
            raise ValueError(f"method.scale_reward {self.scale_reward!r}: use None, 'running' or 'ref'.")

    def longest_response(self) -> int:
        """Return the most new tokens that rollouts or evaluation may generate."""
        counts = [options["max_new_tokens"] for options in (self.gen_kwargs, self.gen_experience_kwargs) if options]
        return max(max(n) if isinstance(n, list) else n for n in counts)

    def kl_controller(self) -> AdaptiveKLController | FixedKLController:
        """Build the controller: adaptive where there is a `target`."""
        if self.target is None:
            return FixedKLController(self.init_kl_coef)
        return AdaptiveKLController(self.init_kl_coef, self.target, self.horizon)

    def get_advantages_and_returns(
        self,
        values: Tensor,
        rewards: Tensor,
        response_length: int | None = None,
        use_whitening: bool = True,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return advantages, whitened over all ranks by default, and returns: (B, R) each, detached.

        `response_length` cuts the tensors, as in trlX. Without a `mask` every entry counts.
        """
        length = values.shape[1] if response_length is None else response_length
        values, rewards = values[:, :length].float(), rewards[:, :length].float()
        mask = torch.ones_like(values) if mask is None else mask[:, :length].to(values)
        advantages, returns = gae(rewards, values, mask, self.gamma, self.lam)
        if use_whitening:
            advantages = whiten(advantages, mask=mask)
        return advantages.detach(), returns.detach()

    def loss(
        self,
        logprobs: Tensor,
        values: Tensor,
        old_logprobs: Tensor,
        old_values: Tensor,
        advantages: Tensor,
        returns: Tensor,
        mask: Tensor,
        n: Tensor | float | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return `ppo_loss` with this configuration's coefficients: the loss and statistics. All tensors (B, R)."""
        return ppo_loss(
            logprobs,
            values,
            old_logprobs,
            old_values,
            advantages,
            returns,
            mask,
            cliprange=self.cliprange,
            cliprange_value=self.cliprange_value,
            vf_coef=self.vf_coef,
            n=n,
        )
