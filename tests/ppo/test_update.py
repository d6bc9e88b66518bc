"""One optimizer update: its ratio, its gradient under any split, its clipping."""

import pytest
import torch
from tiny_trlx import tiny_trainer

from trlx.data.configs import TRLConfig
from trlx.pipeline.rollouts import Rollout
from trlx.trainer.ppo import AcceleratePPOTrainer


def test_ratio_is_one_on_the_first_minibatch(config) -> None:
    """Each rollout, in whatever company, has the log-probability that is stored with it.

    Exactly, where it is batched as it was at collection; to 1e-6 (rounding of other matrix shapes) elsewhere.
    """
    trainer = tiny_trainer(config(method__num_rollouts=8, method__chunk_size=8, train__batch_size=8))
    rollouts, _ = trainer.make_experience()
    stats = trainer.update([rollouts], rollouts[0])
    assert stats["ratio"] == 1.0
    assert stats["policy/approx_kl"] == 0.0
    assert stats["policy/clipfrac"] == 0.0
    assert stats["values/mean"] == stats["old_values/mean"]

    trainer = tiny_trainer(config(method__num_rollouts=8, method__chunk_size=3, train__minibatch_size=2))
    rollouts, _ = trainer.make_experience()
    order = [5, 0, 6, 2]
    stats = trainer.update([[rollouts[i] for i in order[:2]], [rollouts[i] for i in order[2:]]], rollouts[0])
    assert stats["ratio"] == pytest.approx(1.0, abs=1e-6)
    assert stats["policy/approx_kl"] == pytest.approx(0.0, abs=1e-7)


def some_rollouts(trainer: AcceleratePPOTrainer) -> list[Rollout]:
    """Of several lengths, with advantages, returns and old log-probabilities that put every clip to work."""
    g = torch.Generator().manual_seed(3)
    rollouts, _ = trainer.make_experience()
    made = []
    for i, r in enumerate(rollouts):
        n = 1 + i % len(r.response)
        numbers = [torch.randn(n, generator=g) for _ in range(3)]
        old = r.logprobs[:n] + 0.3 * numbers[0]
        trunk = r.trunk[: len(r.prompt) + n]
        made.append(Rollout(r.prompt, r.response[:n], old, r.values[:n], numbers[1], numbers[2], trunk))
    return made


def gradient(
    config: TRLConfig, split: list[list[int]], keep_trunk: bool = True
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Statistics and gradient of one update on the same 8 rollouts, split into these micro-batches.

    The optimizer is SGD with rate 1, so the gradient is what the weights lost.
    """
    config = config.evolve(optimizer={"name": "sgd", "kwargs": {"lr": 1.0}})
    config.optimizer.kwargs = {"lr": 1.0}
    trainer = tiny_trainer(config)
    assert trainer.plan.micro_batches == len(split)
    rollouts = [r if keep_trunk else r._replace(trunk=None) for r in some_rollouts(trainer)]
    before = {name: p.detach().clone() for name, p in trainer.policy.named_parameters() if p.requires_grad}
    stats = trainer.update([[rollouts[i] for i in rows] for rows in split], rollouts[0])
    after = dict(trainer.policy.named_parameters())
    return stats, {name: before[name] - after[name].detach() for name in before}


def assert_same_update(a, b, atol: float = 2e-6) -> None:
    for key in a[0].keys() - {"time/forward", "time/backward", "learning_rate_group_0"}:
        assert a[0][key] == pytest.approx(b[0][key], abs=atol, rel=1e-5), key
    torch.testing.assert_close(a[1], b[1], rtol=0, atol=atol)


def whole(config) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    return gradient(config(train__batch_size=8), [list(range(8))])


@pytest.mark.parametrize(
    "split",
    [
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [[7, 2], [5, 0], [1, 3], [6, 4]],  # in another order, whose padding is wider or narrower
        [[i] for i in range(8)],
        [[0, 1, 2, 3, 4, 5, 6], [7]],
        [[0, 1, 2, 3, 4, 5, 6, 7], []],  # a rank without rollouts for a micro-batch
    ],
)
def test_update_is_the_same_under_any_split(config, split: list[list[int]]) -> None:
    """minibatch_size, order and padding width leave losses, statistics and gradient as they are, to 2e-6."""
    size = {2: 4, 4: 2, 8: 1}[len(split)]
    assert_same_update(whole(config), gradient(config(train__batch_size=8, train__minibatch_size=size), split))


def test_update_is_the_same_under_gradient_accumulation(config, monkeypatch) -> None:
    """Two batches of 4 accumulated by the launcher are one batch of 8."""
    expected = whole(config)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2")
    assert_same_update(expected, gradient(config(train__batch_size=4), [[0, 1, 2, 3], [4, 5, 6, 7]]))


def test_update_is_the_same_with_gradient_checkpointing(config) -> None:
    again = gradient(config(train__batch_size=8, train__gradient_checkpointing=True), [list(range(8))])
    assert_same_update(whole(config), again, atol=0)


def test_update_is_the_same_without_the_cached_trunk(config) -> None:
    assert_same_update(whole(config), gradient(config(train__batch_size=8), [list(range(8))], keep_trunk=False))


def test_collection_is_the_same_under_any_chunk_size(config) -> None:
    """The random numbers belong to the rows: all that is stored, to 2e-6."""
    collections = []
    for chunk in (1, 3, 8):
        trainer = tiny_trainer(config(method__chunk_size=chunk))
        collections.append(trainer.make_experience()[0])
    for other in collections[1:]:
        for a, b in zip(collections[0], other, strict=True):
            assert (a.prompt, a.response) == (b.prompt, b.response)
            for name in ("logprobs", "values", "advantages", "returns", "trunk"):
                torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=2e-6, msg=name)


def test_advantages_are_white_over_the_whole_collection(config) -> None:
    trainer = tiny_trainer(config(method__chunk_size=3))
    advantages = torch.cat([r.advantages for r in trainer.make_experience()[0]])
    assert advantages.mean().abs() < 1e-6
    assert advantages.var(correction=0).item() == pytest.approx(1.0, abs=1e-5)


def test_clipping_scales_the_gradient(config) -> None:
    stats, expected = whole(config)
    norm = torch.cat([g.flatten() for g in expected.values()]).norm().item()
    assert stats["policy/gradient_norm"] == pytest.approx(norm, rel=1e-5)
    stats, clipped = gradient(config(train__batch_size=8, train__max_grad_norm=norm / 4), [list(range(8))])
    assert stats["policy/gradient_norm"] == pytest.approx(norm, rel=1e-5)
    for name, g in clipped.items():
        torch.testing.assert_close(g, expected[name] / 4, rtol=1e-4, atol=1e-7)
