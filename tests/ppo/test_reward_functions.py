"""What reward functions may return, and what becomes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from logged import metrics
from tiny_trlx import PROMPTS, length_reward, tiny_trainer

from trlx.data.configs import TRLConfig
from trlx.trainer.rewards import Episode, check_scores


def test_num_rollouts_need_not_divide(config) -> None:
    """7 rollouts in chunks of 4 and batches of 2: 7 are scored, once and in order, and 4 batches made of them."""
    seen: list[list[str]] = []

    def reward(samples, prompts, **_):
        seen.append(prompts)
        return length_reward(samples)

    trainer = tiny_trainer(
        config(method__num_rollouts=7, train__batch_size=2, train__epochs=1, method__ppo_epochs=1), reward
    )
    trainer.learn()
    before, collected, after = seen  # evaluations of 4 prompts around one collection
    assert (len(before), len(collected), len(after)) == (4, 7, 4)
    cursor = type(trainer.cursor)(len(PROMPTS), trainer.config.train.seed)
    assert collected == [PROMPTS[i] for i in cursor.take(7)]
    assert trainer.step == 4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda outputs: [1.0] * (len(outputs) - 1), "returned 7 rewards for 8 samples"),
        (lambda outputs: [float("nan")] * len(outputs), "returned nan for sample 0: '"),
        (lambda outputs: [0.0] * 7 + [float("inf")], "returned inf for sample 7"),
        (lambda outputs: None, "it returned NoneType"),
        (lambda outputs: outputs, "must return numbers, or one list of numbers per sample; it returned list"),
        (lambda outputs: 1.0, "it returned float"),
        (lambda outputs: [[1.0] * 99] * 8, "shape \\(99,\\) for sample 0, whose response has \\d tokens"),
        (lambda outputs: [1.0] * 7 + [[1.0]], "a number for every sample, or a list for every sample"),
        (lambda outputs: torch.zeros(8, 2, 2), "shape \\(2, 2\\) for sample 0"),
    ],
)
def test_bad_rewards_are_refused_by_name(config, answer: Callable, message: str) -> None:
    trainer = tiny_trainer(config(), lambda outputs, **_: answer(outputs))
    with pytest.raises(ValueError, match=message):
        trainer.make_experience()


def test_rewards_may_be_lists_tensors_or_a_column(config) -> None:
    collections = []
    for reward in (
        length_reward,
        lambda outputs, **_: torch.tensor(length_reward(outputs), requires_grad=True),
        lambda outputs, **_: torch.tensor(length_reward(outputs))[:, None],
        lambda outputs, **_: [torch.tensor(x) for x in length_reward(outputs)],
    ):
        collections.append([r.returns for r in tiny_trainer(config(), reward).make_experience()[0]])
    for other in collections[1:]:
        torch.testing.assert_close(collections[0], other, rtol=0, atol=1e-6)


def test_dense_rewards_fall_on_their_tokens(config) -> None:
    """gamma 1, lambda 1, no KL: the return at token t is the sum of the rewards from t on."""

    def reward(output_ids, **_):
        return [[float(10 * i + t) for t in range(len(ids))] for i, ids in enumerate(output_ids)]

    trainer = tiny_trainer(config(method__init_kl_coef=0.0, method__lam=1.0, method__cliprange_reward=None), reward)
    for i, r in enumerate(trainer.make_experience()[0]):
        given = [10 * i + t for t in range(len(r.response))]
        assert r.returns.tolist() == pytest.approx([sum(given[t:]) for t in range(len(given))], abs=1e-4)


def test_dense_rewards_may_be_counted_by_the_text(tokenizer) -> None:
    """As trlX's scripts count: the text has no EOS, or encodes as more tokens than were sampled. Nothing is lost."""
    text = "my cat"
    ids = tokenizer(text).input_ids
    row = torch.arange(1.0, len(ids) + 1)
    finished = Episode([7], [*ids, 0], "", text, {})
    assert check_scores([row], [finished], tokenizer)[0].tolist() == [*row.tolist(), 0.0]
    shorter = Episode([7], ids[:1], "", text, {})
    assert check_scores([row], [shorter], tokenizer)[0].tolist() == [row.sum().item()]
    assert check_scores([row], [Episode([7], ids, "", text, {})], tokenizer)[0].tolist() == row.tolist()
    with pytest.raises(ValueError, match="whose response has"):
        check_scores([torch.ones(len(ids) + 5)], [finished], tokenizer)


def returns_with(config: TRLConfig, scores: list[float]) -> list[float]:
    """Return at each last token, with value 0 there: the score as it enters PPO."""
    trainer = tiny_trainer(config, lambda outputs, **_: scores)
    collected = trainer.make_experience()[0]
    return [r.returns[-1].item() for r in collected]


@pytest.mark.parametrize("how", ["running", "ref"])
@pytest.mark.parametrize("same", [0.1, 0.3, 7.7])
def test_scores_without_spread_are_left_alone(config, how: str, same: float) -> None:
    values = returns_with(config(method__init_kl_coef=0.0, method__scale_reward=how), [same] * 8)
    assert values == pytest.approx([same] * 8)


def test_adaptive_kl_moves_once_a_collection(config) -> None:
    """Target 1e-9 nats: every collection after the first drives the coefficient up by .2 · 8 / 100."""
    trainer = tiny_trainer(config(method__target=1e-9, method__horizon=100, method__init_kl_coef=0.1, train__epochs=3))
    trainer.learn()
    lines = [line for line in metrics(Path(trainer.config.train.checkpoint_dir)) if "kl_ctl_value" in line]
    assert lines[0]["policy/kl"] == 0.0
    expected = [0.1, 0.1 * (1 - 0.2 * 0.08), 0.1 * (1 - 0.2 * 0.08) * (1 + 0.2 * 0.08)]
    assert [line["kl_ctl_value"] for line in lines] == pytest.approx(expected)
