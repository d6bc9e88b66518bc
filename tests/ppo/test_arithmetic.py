"""PPO's arithmetic against slow loops and hand-worked numbers. Each test names the mutations it must catch."""

import math

import numpy as np
import pytest
import torch

from trlx.models.modeling_ppo import AdaptiveKLController, FixedKLController, PPOConfig
from trlx.utils.modeling import (
    RunningMoments,
    entropy_of,
    explained_variance,
    flatten_dict,
    gae,
    get_global_statistics,
    kl_penalised_rewards,
    logprobs_of_labels,
    masked_mean,
    whiten,
)

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64
LENGTHS = (5, 1, 3, 4)  # of the responses in a batch (B, R) = (4, 5)


def ragged(seed: int = 0, lengths=LENGTHS) -> tuple[torch.Tensor, torch.Generator]:
    """A mask (B, R) for responses of these lengths, and a generator for what it covers."""
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return mask.double(), torch.Generator().manual_seed(seed)


def normal(mask: torch.Tensor, g: torch.Generator, scale: float = 1.0) -> torch.Tensor:
    """Random (B, R) in float64, with rubbish of its own behind each response."""
    return scale * torch.randn(mask.shape, generator=g, dtype=torch.float64)


# ------------------------------------------------------------ log-probabilities


def test_logprobs_by_hand() -> None:
    """Two tokens with logits ln 3 and 0: probabilities 3/4 and 1/4."""
    logits = torch.tensor([[[math.log(3.0), 0.0], [math.log(3.0), 0.0]]])
    expected = torch.tensor([[math.log(0.75), math.log(0.25)]])
    torch.testing.assert_close(logprobs_of_labels(logits, torch.tensor([[0, 1]])), expected)


def test_logprobs_against_a_loop() -> None:
    logits = torch.randn(2, 3, 7) * 5
    labels = torch.randint(7, (2, 3))
    found = logprobs_of_labels(logits, labels)
    for b in range(2):
        for t in range(3):
            weights = [math.exp(x) for x in logits[b, t].tolist()]
            assert found[b, t].item() == pytest.approx(math.log(weights[labels[b, t]] / sum(weights)), abs=2e-6)


def test_logprobs_are_computed_in_fp32() -> None:
    logits = torch.randn(2, 3, 50).bfloat16()
    labels = torch.randint(50, (2, 3))
    found = logprobs_of_labels(logits, labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, logprobs_of_labels(logits.float(), labels), rtol=0, atol=0)


def test_entropy_by_hand() -> None:
    uniform, certain = torch.zeros(8), torch.tensor([100.0] + [0.0] * 7)
    assert entropy_of(uniform).item() == pytest.approx(math.log(8), abs=1e-6)
    assert entropy_of(certain).item() == pytest.approx(0.0, abs=1e-6)
    skewed = torch.tensor([math.log(3.0), 0.0])
    assert entropy_of(skewed).item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25), abs=1e-6)


# ------------------------------------------------------- means and whitening


def test_masked_mean_ignores_what_is_masked() -> None:
    xs, mask = torch.tensor([[1.0, 2.0, float(10**6)], [6.0, 1e6, 1e6]]), torch.tensor([[1.0, 1, 0], [1, 0, 0]])
    assert masked_mean(xs, mask).item() == 3.0
    assert masked_mean(xs, torch.zeros_like(mask)).item() == 0.0


def test_global_statistics_keep_their_digits_far_from_zero() -> None:
    """mean(x²) − mean(x)² of 10⁶ ± 0.01 in fp32 would be noise."""
    xs = 1e6 + torch.tensor([-0.5, 0.5, -0.5, 0.5])
    mean, var, count = get_global_statistics(xs)
    assert (mean.item(), var.item(), count.item()) == (1e6, 0.25, 4)


def test_whitening_by_hand() -> None:
    """1 and 3 have mean 2 and standard deviation 1; the padding's 100 has no part in it."""
    xs, mask = torch.tensor([[1.0, 100.0], [3.0, 100.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(whiten(xs, mask=mask), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(whiten(xs, shift_mean=False, mask=mask), torch.tensor([[1.0, 0.0], [3.0, 0.0]]))


def test_whitening_against_numpy() -> None:
    mask, g = ragged()
    xs = normal(mask, g, 3.0) + 2
    kept = xs[mask.bool()].numpy()
    expected = (kept - kept.mean()) / np.sqrt(kept.var() + 1e-8)
    found = whiten(xs, mask=mask)
    np.testing.assert_allclose(found[mask.bool()].numpy(), expected, rtol=1e-12)
    assert found[~mask.bool()].abs().max() == 0


def test_whitening_of_equal_values_is_zero() -> None:
    assert whiten(torch.full((2, 3), 0.1)).abs().max() < 1e-3


# ------------------------------------------------------------------------- GAE


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


# --------------------------------------------------------------------- rewards


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


# ------------------------------------------------------------------------ loss


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


def test_explained_variance_by_hand() -> None:
    returns, mask = torch.tensor([[1.0, 3.0, 99.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    assert explained_variance(returns, returns, mask).item() == 1.0
    assert explained_variance(torch.full((1, 3), 7.0), returns, mask).item() == 0.0
    assert explained_variance(torch.tensor([[1.0, 2.0, 5.0]]), returns, mask).item() == 0.75  # errors 0 and 1


# ----------------------------------------------------------- KL controllers


def test_adaptive_controller_by_hand() -> None:
    """KL twice the target: error 1 clipped to .2; 100 of 1,000 episodes: the coefficient grows by 2 %."""
    controller = AdaptiveKLController(0.5, target=6.0, horizon=1000)
    controller.update(12.0, 100)
    assert controller.value == pytest.approx(0.5 * 1.02)
    controller.update(0.0, 100)
    assert controller.value == pytest.approx(0.5 * 1.02 * 0.98)
    controller.update(6.3, 100)  # error .05
    assert controller.value == pytest.approx(0.5 * 1.02 * 0.98 * 1.005)
    controller.update(6.0, 100)
    assert controller.value == pytest.approx(0.5 * 1.02 * 0.98 * 1.005)


def test_adaptive_controller_settles_where_the_kl_is_on_target() -> None:
    """A policy whose KL is 3 / coefficient: the controller finds coefficient ½ for target 6."""
    controller = AdaptiveKLController(0.1, target=6.0, horizon=1000)
    for _ in range(500):
        controller.update(3.0 / controller.value, 128)
    assert controller.value == pytest.approx(0.5, rel=1e-3)


def test_fixed_controller_stays() -> None:
    controller = FixedKLController(0.1)
    controller.update(100.0, 128)
    assert controller.value == 0.1


def test_target_chooses_the_controller() -> None:
    assert isinstance(PPOConfig("PPOConfig", target=None).kl_controller(), FixedKLController)
    adaptive = PPOConfig("PPOConfig", init_kl_coef=0.1, target=6, horizon=10000).kl_controller()
    assert (adaptive.value, adaptive.target, adaptive.horizon) == (0.1, 6, 10000)


# ------------------------------------------------------------ running moments


def test_running_moments_equal_numpy_over_all_data() -> None:
    moments, rng = RunningMoments(), np.random.default_rng(0)
    seen = np.zeros(0)
    for n in (5, 1, 17, 2, 64):
        batch = rng.normal(1000.0, 3.0, n)
        mean, std = moments.update(torch.tensor(batch))
        seen = np.concatenate([seen, batch])
        assert mean == pytest.approx(batch.mean(), rel=1e-12)
        assert std == pytest.approx(batch.std(ddof=1) if n > 1 else 0.0, rel=1e-9)
        assert moments.mean == pytest.approx(seen.mean(), rel=1e-12)
        assert moments.std == pytest.approx(seen.std(ddof=1), rel=1e-9)
        assert moments.count == len(seen)


def test_running_moments_of_equal_values_have_no_spread_and_can_go_on() -> None:
    moments = RunningMoments()
    moments.update(torch.full((3,), 0.1))
    assert moments.std == 0.0
    moments.update(torch.tensor([0.1, 1.1]))
    assert moments.std == pytest.approx(np.std([0.1] * 4 + [1.1], ddof=1), rel=1e-6)


def test_running_moments_state_goes_round() -> None:
    moments, again = RunningMoments(), RunningMoments()
    moments.update(torch.randn(9))
    again.load_state_dict(moments.state_dict())
    batch = torch.randn(4)
    moments.update(batch)
    again.update(batch)
    assert moments.state_dict() == again.state_dict()


def test_flatten_dict() -> None:
    assert flatten_dict({"losses": {"policy": 1, "deep": {"er": 2}}, "ratio": 3}) == {
        "losses/policy": 1,
        "losses/deep/er": 2,
        "ratio": 3,
    }
