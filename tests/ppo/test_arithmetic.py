"""Log-probabilities, whitening, KL controllers and moments against slow references."""

import math

import numpy as np
import pytest
import torch
from ragged import normal, ragged

from trlx.models.modeling_ppo import AdaptiveKLController, FixedKLController, PPOConfig
from trlx.utils.modeling import (
    RunningMoments,
    entropy_of,
    explained_variance,
    flatten_dict,
    get_global_statistics,
    logprobs_of_labels,
    masked_mean,
    whiten,
)


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


def test_explained_variance_by_hand() -> None:
    returns, mask = torch.tensor([[1.0, 3.0, 99.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    assert explained_variance(returns, returns, mask).item() == 1.0
    assert explained_variance(torch.full((1, 3), 7.0), returns, mask).item() == 0.0
    assert explained_variance(torch.tensor([[1.0, 2.0, 5.0]]), returns, mask).item() == 0.75  # errors 0 and 1


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
