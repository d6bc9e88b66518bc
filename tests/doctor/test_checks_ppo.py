"""Stage 3's checks on made-up evidence: each finds its fault just beyond its threshold, and nothing just before it."""

import math
from pathlib import Path
from typing import Any

import pytest

from summarize_rlhf.doctor import checks_ppo
from summarize_rlhf.doctor.evidence import PPO

OPTIONS = {"method.cliprange": 0.2, "method.num_rollouts": 128, "method.gen_kwargs.max_new_tokens": 50}
# Of each collection, by the names without what stands before the last slash.
ROUND = {
    "policy/kl": 1.0, "policy/sqrt_kl": 1.0, "kl_ctl_value": 0.1, "rollouts/response_length": 20.0,
    "rollouts/eos_rate": 1.0, "rollout_scores/std": 2.0, "rollout_scores/running_std": 2.0,
    "values/explained_variance": 0.1,
}  # fmt: skip
UPDATE = {"policy/approx_kl": 0.02, "policy/clipfrac": 0.1}


def ppo(
    collections: int = 6,
    rounds: dict[str, Any] | None = None,
    updates: dict[str, Any] | None = None,
    error: float = 0.9,
    **fields: Any,
) -> PPO:
    """Evidence of collections in which the reward rises; a list among `rounds` holds a figure of each.

    The value error falls to `error` times what it was, within the four updates on each collection.
    """
    given = {"rollout_scores/mean": list(range(collections))} | (rounds or {})
    lines = [
        ROUND | {name: x[i] if isinstance(x, list) else x for name, x in given.items()} for i in range(collections)
    ]
    steps = [UPDATE | {"values/values_error": 1 + (error - 1) * k / 3} | (updates or {}) for k in range(4)]
    options = OPTIONS | fields.pop("options", {})
    return PPO(Path("ppo"), options, lines, [steps] * collections, **{"distinct": [1.0, 1.0]} | fields)


def causes(evidence: PPO) -> list[str]:
    return [found.cause for check in checks_ppo.CHECKS if (found := check(evidence))]


def test_a_healthy_stage_raises_no_alarm() -> None:
    assert causes(ppo()) == []


def test_a_stage_that_logged_nothing_raises_none() -> None:
    assert causes(PPO(Path("ppo"))) == []


def test_kl_coefficient_zero() -> None:
    assert causes(ppo(rounds={"kl_ctl_value": 0.001})) == []
    assert causes(ppo(rounds={"kl_ctl_value": 0.0})) == ["kl_coefficient_zero"]


def test_kl_coefficient_too_high() -> None:
    """σ is 2: with β = √2 the best policy lies half a nat away."""
    assert causes(ppo(rounds={"kl_ctl_value": 1.41})) == []
    assert causes(ppo(rounds={"kl_ctl_value": 1.42})) == ["kl_coefficient_too_high"]


def test_reward_clipped_flat() -> None:
    assert causes(ppo(rounds={"rollout_scores/running_std": 0.2, "kl_ctl_value": 0.1})) == []
    assert causes(ppo(rounds={"rollout_scores/running_std": 0.19, "kl_ctl_value": 0.1})) == []
    assert "reward_flat" in causes(ppo(rounds={"rollout_scores/running_std": 0.09, "kl_ctl_value": 0.1}))
    halved = {"rollout_scores/running_std": 1.0, "kl_ctl_value": 1.2}  # it is the penalty that is too dear
    assert causes(ppo(rounds=halved)) == ["kl_coefficient_too_high"]


def test_reward_scaled_flat() -> None:
    scaled = {"method.scale_reward": "ref", "method.ref_std": 19.0}
    assert checks_ppo.reward_flat(ppo(options=scaled)) is None  # 2 / 19 > .1
    assert checks_ppo.reward_flat(ppo(options=scaled | {"method.ref_std": 21.0})).status == "broken"
    assert checks_ppo.reward_flat(ppo(options={"method.scale_reward": "running"})) is None


def test_a_reward_that_is_always_the_same() -> None:
    constant = {"rollout_scores/mean": 3.0, "rollout_scores/std": 1e-6, "rollout_scores/running_std": 1e-6}
    assert checks_ppo.reward_flat(ppo(rounds=constant)).status == "broken"


@pytest.mark.parametrize(
    ("option", "value", "found"),
    [("top_k", 0, False), ("top_k", 5, True), ("top_p", 1.0, False), ("top_p", 0.9, True), ("temperature", 0.7, False)],
)
def test_sampling_bent(option: str, value: float, found: bool) -> None:
    assert causes(ppo(options={f"method.gen_kwargs.{option}": value})) == ["sampling_bent"] * found


def test_reference_moves() -> None:
    """The updates moved .02 nats a token, 20 tokens a response: .4 nats."""
    assert causes(ppo(rounds={"policy/sqrt_kl": math.sqrt(0.041)})) == []
    assert causes(ppo(rounds={"policy/sqrt_kl": math.sqrt(0.039)})) == ["reference_moves"]
    first_alone = ppo(rounds={"policy/sqrt_kl": [5.0, *[0.0] * 5]})  # then it was the reference itself
    assert causes(first_alone) == ["reference_moves"]
    still = ppo(rounds={"policy/sqrt_kl": 0.0}, updates={"policy/approx_kl": 1e-6})
    assert "reference_moves" not in causes(still)  # nothing moved


def test_learning_rate_too_high() -> None:
    assert causes(ppo(updates={"policy/approx_kl": 0.2, "policy/clipfrac": 0.3}, rounds={"policy/sqrt_kl": 2.0})) == []
    far = ppo(updates={"policy/approx_kl": 0.21}, rounds={"policy/sqrt_kl": 2.0})
    assert causes(far) == ["learning_rate_too_high"]
    assert causes(ppo(updates={"policy/clipfrac": 0.31})) == ["learning_rate_too_high"]
    grows = ppo(rounds={"policy/sqrt_kl": 2.0})
    grows.updates = [[UPDATE | {"policy/approx_kl": 0.1 * k, "values/values_error": 1 - k / 9} for k in range(4)]] * 6
    assert causes(grows) == ["learning_rate_too_high"]  # .3 on the last pass


def test_learning_rate_too_low() -> None:
    """A third of the clip range is .0667, whose square halved is .00222."""
    assert causes(ppo(updates={"policy/approx_kl": 0.00223})) == []
    assert causes(ppo(updates={"policy/approx_kl": 0.00221})) == ["learning_rate_too_low"]
    narrow = {"method.cliprange": 0.1}
    assert causes(ppo(updates={"policy/approx_kl": 0.00057}, options=narrow)) == []
    assert causes(ppo(updates={"policy/approx_kl": 0.00054}, options=narrow)) == ["learning_rate_too_low"]


def test_values_do_not_fit() -> None:
    assert causes(ppo(error=0.985)) == []
    assert causes(ppo(error=0.995)) == ["values_do_not_fit"]
    assert causes(ppo(error=0.995, rounds={"values/explained_variance": 0.6})) == []  # nothing is left to learn


def test_collapsed() -> None:
    assert causes(ppo(distinct=[0.9, 0.46])) == []
    assert causes(ppo(distinct=[0.9, 0.44])) == ["collapsed"]


def test_endless() -> None:
    assert causes(ppo(rounds={"rollouts/eos_rate": [0.9, 0.9, 0.9, 0.9, 0.46, 0.46]})) == []
    assert causes(ppo(rounds={"rollouts/eos_rate": [0.9, 0.9, 0.9, 0.9, 0.44, 0.44]})) == ["endless"]


def test_over_optimised() -> None:
    def gold(high: float) -> dict[str, Any]:
        before, after = {"value": 3.0, "low": 2.9, "high": 3.1}, {"value": high - 0.1, "low": high - 0.2, "high": high}
        return {"models": {"sft": {"gold": before}, "ppo": {"gold": after}}}

    assert causes(ppo(evaluation=gold(2.91))) == []
    assert causes(ppo(evaluation=gold(2.89))) == ["over_optimised"]
    assert causes(ppo(evaluation={"models": {"sft": {"gold": None}, "ppo": {}}})) == []


def test_a_policy_that_is_held_where_the_penalty_wants_it() -> None:
    """σ is 2: with β = 1 the best policy lies one nat away."""
    flat = {"rollout_scores/mean": 0.0, "kl_ctl_value": 1.0}
    assert causes(ppo(rounds=flat | {"policy/kl": 0.49})) == ["no_gain"]
    held = ppo(rounds=flat | {"policy/kl": 0.51})
    assert causes(held) == ["kl_coefficient_too_high", "no_gain"]
    assert checks_ppo.kl_coefficient_too_high(held).status == "suspect"
    assert causes(ppo(rounds={"kl_ctl_value": 1.0})) == []  # its reward rises


def test_no_gain() -> None:
    """Two standard errors of a difference of two means of 128, of scores that spread by 2: .5."""
    assert causes(ppo(rounds={"rollout_scores/mean": [0, 0, 0, 0, 0.51, 0.51]})) == []
    assert causes(ppo(rounds={"rollout_scores/mean": [0, 0, 0, 0, 0.49, 0.49]})) == ["no_gain"]
