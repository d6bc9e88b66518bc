"""Advantages and KL-penalised rewards against slow references."""

import pytest
import torch
from ragged import EXACT, LENGTHS, normal, ragged

from trlx.models.modeling_ppo import PPOConfig
from trlx.utils.modeling import (
    gae,
    kl_penalised_rewards,
    whiten,
)


def slow_gae(rewards, values, lengths, gamma, lam):
    """The definition: A_t = Σ_k (gamma·lam)^k · delta_{t+k}, over the tokens of the response."""
    advantages = torch.zeros_like(values)
    for b, n in enumerate(lengths):
        deltas = [rewards[b, t] + gamma * (values[b, t + 1] if t + 1 < n else 0.0) - values[b, t] for t in range(n)]
        for t in range(n):
            advantages[b, t] = sum((gamma * lam) ** k * deltas[t + k] for k in range(n - t))
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0.0)])
def test_gae_against_its_definition(gamma: float, lam: float) -> None:
    """Red when the mask is dropped, the next value is one late, or gamma·lam loses a factor."""
    mask, g = ragged()
    rewards, values = normal(mask, g), normal(mask, g)
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    expected = slow_gae(rewards, values, LENGTHS, gamma, lam)
    torch.testing.assert_close(advantages, expected, **EXACT)
    torch.testing.assert_close(returns, (expected + values) * mask, **EXACT)


def test_gae_by_hand() -> None:
    """R = (0, 1), V = (.5, .25), gamma = .5, lam = .5. delta_1 = 1 − .25 = .75; delta_0 = 0 + .5·.25 − .5 = −.375."""
    rewards, values = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.25]])
    advantages, returns = gae(rewards, values, torch.ones(1, 2), 0.5, 0.5)
    torch.testing.assert_close(advantages, torch.tensor([[-0.375 + 0.25 * 0.75, 0.75]]))
    torch.testing.assert_close(returns, torch.tensor([[0.3125, 1.0]]))


def test_gae_without_discount_and_lambda_one_is_the_sum_to_come_minus_the_value() -> None:
    mask, g = ragged()
    rewards, values = normal(mask, g) * mask, normal(mask, g)
    advantages, returns = gae(rewards, values, mask, 1.0, 1.0)
    to_come = rewards.flip(1).cumsum(1).flip(1) * mask
    torch.testing.assert_close(returns, to_come, **EXACT)
    torch.testing.assert_close(advantages, (to_come - values) * mask, **EXACT)


def test_config_whitens_the_advantages_and_leaves_the_returns() -> None:
    mask, g = ragged()
    rewards, values = normal(mask, g).float(), normal(mask, g).float()
    config = PPOConfig("PPOConfig", gamma=0.9, lam=0.8)
    advantages, returns = config.get_advantages_and_returns(values, rewards, mask=mask)
    plain, plain_returns = gae(rewards, values, mask.float(), 0.9, 0.8)
    torch.testing.assert_close(advantages, whiten(plain, mask=mask.float()))
    torch.testing.assert_close(returns, plain_returns)


def test_config_takes_trlx_arguments() -> None:
    """values, rewards, response_length: the first `response_length` columns, every one counted."""
    values, rewards = torch.randn(2, 6), torch.randn(2, 6)
    config = PPOConfig("PPOConfig", gamma=0.9, lam=0.8)
    advantages, returns = config.get_advantages_and_returns(values, rewards, 4, use_whitening=False)
    expected = slow_gae(rewards[:, :4], values[:, :4], (4, 4), 0.9, 0.8)
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, expected + values[:, :4])


def slow_rewards(logprobs, ref_logprobs, scores, lengths, coef):
    rewards = torch.zeros_like(logprobs)
    for b, n in enumerate(lengths):
        for t in range(n):
            rewards[b, t] = -coef * (logprobs[b, t] - ref_logprobs[b, t])
        if scores.dim() == 1:
            rewards[b, n - 1] += scores[b]
        else:
            rewards[b, :n] += scores[b, :n]
    return rewards


@pytest.mark.parametrize("dense", [False, True])
def test_rewards_against_a_loop(dense: bool) -> None:
    """Red when the KL's sign flips, the score lands one slot off, or padding earns something."""
    mask, g = ragged()
    logprobs, ref_logprobs = normal(mask, g), normal(mask, g)
    scores = normal(mask, g) if dense else torch.randn(4, generator=g, dtype=torch.float64)
    found = kl_penalised_rewards(logprobs, ref_logprobs, scores, mask, 0.3)
    torch.testing.assert_close(found, slow_rewards(logprobs, ref_logprobs, scores, LENGTHS, 0.3), **EXACT)


def test_rewards_by_hand() -> None:
    """The policy makes token 0 likelier than the reference by 2 nats and pays .1 · 2; the score 7 falls on token 1."""
    logprobs, ref_logprobs = torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[-3.0, -2.0, -1.0]])
    rewards = kl_penalised_rewards(logprobs, ref_logprobs, torch.tensor([7.0]), torch.tensor([[1.0, 1.0, 0.0]]), 0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.2, 7.0, 0.0]]))
