"""PPO's optimizer, schedule, KL controller and rollouts give the numbers of their formulas, computed the slow way.

B episodes of R response tokens each. No option has its default, so that one that is ignored shows.
"""

import copy
import math

import pytest
import torch
from slow import AdamW
from tiny_trlx import length_reward, tiny_config, tiny_trainer

from trlx.data.configs import TRLConfig
from trlx.pipeline.rollouts import Rollout
from trlx.trainer import evaluation, ppo
from trlx.trainer.checkpoint import Collection

PEAK, EPISODES = 0.02, 8


@pytest.fixture
def config(gptj_dir, tmp_path):
    return lambda **overrides: tiny_config(gptj_dir, tmp_path / "out", **overrides)


def linear(k: int) -> float:
    """From a quarter of the peak to all of it in 5 updates."""
    return PEAK * (0.25 + 0.75 * min(k, 5) / 5)


def cosine(k: int) -> float:
    """From the peak to 0.005 in 12 updates (Loshchilov and Hutter 2017, eq. 5)."""
    return 0.005 + (PEAK - 0.005) * (1 + math.cos(math.pi * k / 12)) / 2


SCHEDULES = {
    "linear": ({"start_factor": 0.25, "total_iters": 5}, linear),
    "cosine_annealing": ({"T_max": 12, "eta_min": 0.005}, cosine),
    "constant": ({}, lambda k: PEAK),
}


def scheduled(config: TRLConfig, name: str) -> TRLConfig:
    config.scheduler.name, (config.scheduler.kwargs, _) = name, SCHEDULES[name]
    return config


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights_and_rates_are_those_of_adamw(config, schedule: str) -> None:
    """8 updates of 2 micro-batches each: one step of the schedule an update; every optimizer option counts.

    The gradients are the run's own; what becomes of them is the slow way's.
    """
    settings = scheduled(config(train__minibatch_size=2), schedule)
    settings.optimizer.kwargs = {"lr": PEAK, "betas": [0.6, 0.7], "eps": 1e-3, "weight_decay": 0.5}
    trainer = tiny_trainer(settings)
    slow = copy.deepcopy(trainer.policy)
    twin, rates = AdamW(slow, 0.6, 0.7, 1e-3, 0.5, all_decay=True), []

    def follow(optimizer, *_):
        for (name, mine), (other, theirs) in zip(twin.params, of_policy, strict=True):
            assert name == other
            mine.grad = theirs.grad.clone()
        rates.append(optimizer.param_groups[0]["lr"])
        twin.step(SCHEDULES[schedule][1](len(rates) - 1), None)

    of_policy = [(name, p) for name, p in trainer.policy.named_parameters() if p.requires_grad]
    trainer.optimizer.optimizer.register_step_pre_hook(follow)
    trainer.learn()
    assert rates == pytest.approx([SCHEDULES[schedule][1](k) for k in range(8)])
    for (name, mine), (_, theirs) in zip(twin.params, of_policy, strict=True):
        torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


def test_adam_decays_through_the_gradient(config) -> None:
    """Adam with weight decay adds decay · weight to the gradient (Kingma and Ba 2015), AdamW to the step."""
    settings = config()
    settings.optimizer.name = "adam"
    settings.optimizer.kwargs = {"lr": PEAK, "betas": [0.6, 0.7], "eps": 1e-3, "weight_decay": 0.5}
    settings.scheduler.name, settings.scheduler.kwargs = "constant", {}
    trainer = tiny_trainer(settings)
    slow = copy.deepcopy(trainer.policy)
    twin = AdamW(slow, 0.6, 0.7, 1e-3, 0.0)
    of_policy = [p for p in trainer.policy.parameters() if p.requires_grad]

    def follow(*_):
        for (_, mine), theirs in zip(twin.params, of_policy, strict=True):
            mine.grad = (theirs.grad + 0.5 * mine).detach()
        twin.step(PEAK, None)

    trainer.optimizer.optimizer.register_step_pre_hook(follow)
    trainer.learn()
    for (_, mine), theirs in zip(twin.params, of_policy, strict=True):
        torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-6)


@pytest.fixture
def seen(monkeypatch) -> list[list[dict]]:
    """What policy and reference said of each collection's episodes, filled as a trainer goes."""
    seen = []
    original = ppo.logprobs_and_values

    def noted(*args):
        seen.append(original(*args))
        return seen[-1]

    monkeypatch.setattr(ppo, "logprobs_and_values", noted)
    return seen


def test_controller_gets_nats_an_episode_and_its_coefficient_is_paid(config, seen) -> None:
    """Ziegler et al. 2019: error of KL an *episode*, clipped to ±.2, horizon in *episodes*; once a collection.

    With gamma = lam = 1 the first return is the sum of rewards: score − coefficient · Σ (log π − log π_ref).
    """
    settings = config(
        train__epochs=4,
        method__target=0.3,
        method__horizon=30,
        method__init_kl_coef=0.5,
        method__gamma=1.0,
        method__lam=1.0,
        method__cliprange_reward=None,
        optimizer__kwargs__lr=3e-2,
    )
    trainer = tiny_trainer(settings)
    told, collected = [], []
    update, make = trainer.kl_controller.update, trainer.make_experience
    trainer.kl_controller.update = lambda kl, n: told.append((kl, n)) or update(kl, n)
    trainer.make_experience = lambda: collected.append(make()) or collected[-1]
    trainer.learn()

    coefficient = 0.5
    assert len(told) == len(seen) == len(collected) == 4
    for outputs, (kl, n), (rollouts, stats) in zip(seen, told, collected, strict=True):
        ratios = [(output["logprobs"] - output["ref_logprobs"]).sum().item() for output in outputs]
        assert (kl, n) == (pytest.approx(sum(ratios) / EPISODES, abs=1e-6), EPISODES)
        assert stats["kl_ctl_value"] == pytest.approx(coefficient)
        for rollout, ratio in zip(rollouts, ratios, strict=True):
            score = length_reward([trainer.tokenizer.decode(rollout.response, skip_special_tokens=True)])[0]
            assert rollout.returns[0].item() == pytest.approx(score - coefficient * ratio, abs=1e-5)
        coefficient *= 1 + max(-0.2, min(0.2, sum(ratios) / EPISODES / 0.3 - 1)) * EPISODES / 30
    errors = [kl / 0.3 - 1 for kl, _ in told]
    assert min(errors) < -0.2  # both ends of the clip, or what lies between, have acted
    assert max(errors) > -0.2


def test_rollouts_hold_the_slow_advantages_and_returns(config, seen) -> None:
    """GAE by its double sum, whitened over all tokens of the collection by the biased variance; returns before that."""
    gamma, lam, beta = 0.9, 0.6, 0.4
    settings = config(
        train__epochs=1, method__gamma=gamma, method__lam=lam, method__init_kl_coef=beta, optimizer__kwargs__lr=3e-2
    )
    trainer = tiny_trainer(settings)
    trainer.learn()  # so that policy and reference differ
    seen.clear()
    rollouts, _ = trainer.make_experience()
    raw = []
    for output, rollout in zip(seen[0], rollouts, strict=True):
        rewards = [-beta * x for x in (output["logprobs"] - output["ref_logprobs"]).tolist()]
        rewards[-1] += length_reward([trainer.tokenizer.decode(rollout.response, skip_special_tokens=True)])[0]
        values = [*output["values"].tolist(), 0.0]
        deltas = [r + gamma * values[t + 1] - values[t] for t, r in enumerate(rewards)]
        raw.append(
            [sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, len(deltas))) for t in range(len(deltas))]
        )
        expected = [a + v for a, v in zip(raw[-1], values, strict=False)]
        assert rollout.returns.tolist() == pytest.approx(expected, abs=1e-5)
    flat = [a for row in raw for a in row]
    mean = sum(flat) / len(flat)
    std = (sum((a - mean) ** 2 for a in flat) / len(flat)) ** 0.5
    for row, rollout in zip(raw, rollouts, strict=True):
        assert rollout.advantages.tolist() == pytest.approx([(a - mean) / std for a in row], abs=1e-4)


def test_evaluation_reports_mean_and_spread_of_its_rewards(config) -> None:
    rewards = [1.0, 2.0, 4.0, 9.0]
    results = tiny_trainer(config(), lambda outputs, **_: rewards).evaluate()
    assert results["reward/mean"] == 4.0
    assert results["reward/std"] == pytest.approx(math.sqrt((9 + 4 + 0 + 25) / 4))


# ------------------------------------------------------------------- seeds


def drawn(settings: TRLConfig) -> tuple:
    """Prompts and responses of two collections by one policy; the order of equal rollouts in two PPO epochs of each; an
    evaluation's samples."""
    trainer = tiny_trainer(settings)
    collections = []
    for iteration in range(2):
        trainer.collection = None
        trainer.iteration = iteration
        rollouts, _ = trainer.make_experience()
        collections.append(([r.prompt for r in rollouts], [r.response for r in rollouts]))
    same = [Rollout([7] * (1 + i % 3), [7], *[torch.zeros(1)] * 4, None) for i in range(EPISODES)]
    orders = {}
    for trainer.iteration in (0, 1):
        for epoch in (0, 1):
            orders[trainer.iteration, epoch] = trainer.updates_left(Collection(same, kl=0.0, epoch=epoch))
    _, samples = evaluation.evaluate_with(trainer, {"max_new_tokens": 6})
    return collections, orders, [row["output"] for row in samples]


def test_seed_iteration_and_epoch_decide_what_is_drawn(config) -> None:
    (first, second), orders, samples = drawn(config(train__seed=3))
    (again, _), same_orders, same_samples = drawn(config(train__seed=3))
    (other, _), other_orders, other_samples = drawn(config(train__seed=4))
    assert (first, orders, samples) == (again, same_orders, same_samples)
    assert first[0] != other[0]  # the order of prompts
    by_prompt = [
        dict(zip(map(tuple, prompts), responses, strict=True)) for prompts, responses in (first, second, other)
    ]
    assert all(by_prompt[0][prompt] != by_prompt[1][prompt] for prompt in by_prompt[0])
    assert samples != other_samples
    assert orders[0, 0] != other_orders[0, 0]
    assert len({str(order) for order in orders.values()}) == 4


def test_samples_of_another_seed_are_others(config) -> None:
    """Of one prompt eight times, so that the order of prompts says nothing."""
    found = []
    for seed in (3, 4):
        trainer = tiny_trainer(config(train__seed=seed), prompts=["my cat"] * EPISODES)
        found.append([r.response for r in trainer.make_experience()[0]])
    assert all(a != b for a, b in zip(*found, strict=True))
