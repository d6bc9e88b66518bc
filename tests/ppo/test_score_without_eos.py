"""A response that does not end with EOS gets the score that was set, whatever the reward function says of it."""

import pytest
import torch
from tiny_trlx import tiny_config, tiny_trainer
from transformers import GenerationConfig

from trlx.trainer import ppo, rewards
from trlx.trainer.rewards import Episode, replace_unfinished

GENERATION = GenerationConfig(max_new_tokens=4, eos_token_id=[0, 9])


def episode(response: list[int]) -> Episode:
    return Episode([5], response, "a", "b", {})


@pytest.mark.parametrize("dense", [False, True])
def test_by_a_slow_loop(dense: bool) -> None:
    """Ended by either EOS, in the middle alone, or not at all."""
    responses = [[1, 2, 0], [1, 9], [0, 1], [1, 2, 3, 4]]
    scores = [torch.rand(len(r)) if dense else torch.rand(()) for r in responses]
    kept = [score.clone() for score in scores]
    found = replace_unfinished(scores, [episode(r) for r in responses], GENERATION, -1.0)
    for response, before, after in zip(responses, kept, found, strict=True):
        expected = before.tolist()
        if response[-1] not in (0, 9):
            expected = [0.0] * (len(response) - 1) + [-1.0] if dense else -1.0
        assert after.tolist() == expected
        assert after.shape == before.shape
    assert all(torch.equal(a, b) for a, b in zip(scores, kept, strict=True)), "the reward function's own are untouched"
    assert replace_unfinished(scores, [episode(r) for r in responses], GENERATION, None) is scores


def test_a_collection_is_trained_on_it(gptj_dir, tmp_path, monkeypatch) -> None:
    """The rewards that PPO sees, and the mean that is logged."""
    seen = {}
    real = ppo.kl_penalised_rewards

    def spy(logprobs, ref_logprobs, scores, mask, kl_coef):
        seen.update(scores=scores.tolist(), lengths=mask.sum(1).int().tolist())
        return real(logprobs, ref_logprobs, scores, mask, kl_coef)

    monkeypatch.setattr(ppo, "kl_penalised_rewards", spy)
    decoded = []
    monkeypatch.setattr(
        rewards, "score", lambda _, __, episodes, *___: decoded.extend(episodes) or [torch.tensor(2.0)] * 8
    )
    options = {
        "method.score_without_eos": -1.5,
        "method.gen_kwargs": {"max_new_tokens": 6, "eos_token_id": [*range(40)]},
    }
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path, **options))
    _, stats = trainer.make_experience()
    expected = [2.0 if e.response[-1] < 40 else -1.5 for e in decoded]
    assert set(expected) == {2.0, -1.5}, "the sample has both"
    assert seen["scores"] == expected
    assert stats["rollout_scores/mean"] == pytest.approx(sum(expected) / 8)
