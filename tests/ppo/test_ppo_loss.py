"""PPO's loss against a loop over tokens, and by hand."""

import math

import pytest
import torch
from ragged import EXACT, LENGTHS, normal, ragged

from trlx.models.modeling_ppo import PPOConfig


def slow_loss(config: PPOConfig, logprobs, values, old_logprobs, old_values, advantages, returns, lengths):
    """Policy and value loss token by token (Schulman et al. 2017, eq. 7 and 9)."""
    policy, value, count = 0.0, 0.0, 0
    for b, n in enumerate(lengths):
        for t in range(n):
            ratio = math.exp(logprobs[b, t] - old_logprobs[b, t])
            a = advantages[b, t].item()
            policy -= min(ratio * a, min(max(ratio, 1 - config.cliprange), 1 + config.cliprange) * a)
            v, old, g = values[b, t].item(), old_values[b, t].item(), returns[b, t].item()
            near = old + min(max(v - old, -config.cliprange_value), config.cliprange_value)
            value += 0.5 * max((v - g) ** 2, (near - g) ** 2)
            count += 1
    return policy / count, value / count


@pytest.mark.parametrize("spread", [0.05, 1.0])  # inside the clip ranges, and mostly outside
def test_loss_against_a_loop(spread: float) -> None:
    """Red when a clip is dropped, `min` and `max` are exchanged, ½ or vf_coef is lost, or padding counts."""
    mask, g = ragged()
    old_logprobs, old_values = normal(mask, g), normal(mask, g)
    logprobs, values = old_logprobs + normal(mask, g, spread), old_values + normal(mask, g, spread)
    advantages, returns = normal(mask, g), normal(mask, g)
    config = PPOConfig("PPOConfig", cliprange=0.2, cliprange_value=0.3, vf_coef=0.7)
    loss, stats = config.loss(logprobs, values, old_logprobs, old_values, advantages, returns, mask)
    policy, value = slow_loss(config, logprobs, values, old_logprobs, old_values, advantages, returns, LENGTHS)
    assert stats["losses/policy_loss"].item() == pytest.approx(policy, rel=1e-12)
    assert stats["losses/value_loss"].item() == pytest.approx(value, rel=1e-12)
    assert loss.item() == pytest.approx(policy + 0.7 * value, rel=1e-12)


def one_token_loss(ratio: float, advantage: float) -> tuple[float, float]:
    """Policy loss and its gradient with respect to the log-probability, for one token."""
    logprob = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    config = PPOConfig("PPOConfig", cliprange=0.2, vf_coef=0.0)
    loss, _ = config.loss(logprob, zero, zero, zero, torch.full_like(zero, advantage), zero, torch.ones(1, 1))
    loss.backward()
    return loss.item(), logprob.grad.item()


def test_policy_loss_by_hand() -> None:
    """Clipped, and without gradient, only where the policy has gone too far in the direction that pays."""
    assert one_token_loss(1.0, 3.0) == pytest.approx((-3.0, -3.0))
    assert one_token_loss(1.5, 1.0) == pytest.approx((-1.2, 0.0))
    assert one_token_loss(0.5, -1.0) == pytest.approx((0.8, 0.0))
    assert one_token_loss(0.5, 1.0) == pytest.approx((-0.5, -0.5))
    assert one_token_loss(1.5, -1.0) == pytest.approx((1.5, 1.5))


def test_value_loss_by_hand() -> None:
    """V_old = 0, V = 1, G = 2, clip .2: the clipped value .2 errs more, (2 − .2)²/2 = 1.62, and has no gradient."""
    value = torch.ones(1, 1, requires_grad=True)
    zero = torch.zeros(1, 1)
    config = PPOConfig("PPOConfig", cliprange_value=0.2, vf_coef=0.5)
    loss, stats = config.loss(zero, value, zero, zero, zero, torch.full((1, 1), 2.0), torch.ones(1, 1))
    loss.backward()
    assert loss.item() == pytest.approx(0.81)
    assert stats["losses/value_loss"].item() == pytest.approx(1.62)
    assert value.grad.item() == 0.0


def test_loss_ignores_padding() -> None:
    mask, g = ragged()
    tensors = [normal(mask, g) for _ in range(6)]
    config = PPOConfig("PPOConfig")
    loss, stats = config.loss(*tensors, mask)
    rubbish = [x * mask + 50 * (1 - mask) * torch.randn(mask.shape, generator=g) for x in tensors]
    again, stats_again = config.loss(*rubbish, mask)
    torch.testing.assert_close(loss, again, **EXACT)
    torch.testing.assert_close(stats, stats_again, **EXACT)


def test_losses_of_parts_average_to_the_loss_of_the_whole() -> None:
    """With n = tokens / parts; the mean of per-part means would not."""
    mask, g = ragged()
    tensors = [normal(mask, g) for _ in range(6)]
    config = PPOConfig("PPOConfig")
    whole, _ = config.loss(*tensors, mask)
    n = mask.sum() / 2
    parts = [config.loss(*[x[rows] for x in tensors], mask[rows], n)[0] for rows in ([0, 1, 2], [3])]
    torch.testing.assert_close(sum(parts) / 2, whole, **EXACT)
    means = [config.loss(*[x[rows] for x in tensors], mask[rows])[0] for rows in ([0, 1, 2], [3])]
    assert abs(sum(means) / 2 - whole) > 1e-2


def test_loss_statistics_by_hand() -> None:
    """Ratios 1.5 and 1: KL estimate (.5 − ln 1.5)/2, one of two clipped; both names as in trlX."""
    logprobs, old = torch.tensor([[math.log(1.5), 0.0, 9.0]]), torch.zeros(1, 3)
    values, returns = torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[2.0, 3.0, -9.0]])
    config = PPOConfig("PPOConfig", cliprange=0.2, cliprange_value=0.2)
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    _, stats = config.loss(logprobs, values, old, values, torch.ones(1, 3), returns, mask)
    assert stats["policy/approx_kl"].item() == pytest.approx((0.5 - math.log(1.5)) / 2)
    assert stats["policy/clipfrac"].item() == 0.5
    assert stats["ratio"].item() == pytest.approx(1.25)
    assert stats["values/mean"].item() == 2.0
    assert stats["returns/mean"].item() == 2.5
    assert stats["values/values_error"].item() == 0.5
    assert stats["values/clipfrac"].item() == 0.0
