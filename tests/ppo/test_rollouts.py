"""Rollouts: batches by hand, and through the trainer."""

import pytest
import torch
from tiny_trlx import PROMPTS, tiny_config, tiny_trainer

from summarize_rlhf.lm import generation
from trlx.pipeline.offline_pipeline import PromptCursor
from trlx.pipeline.rollouts import Rollout, collate, collate_tokens, minibatches, pad
from trlx.trainer import experience
from trlx.trainer.rewards import Episode, shared_rows
from trlx.utils.modeling import kl_penalised_rewards

EOS = 0  # and pad: `load_tokenizer` gives a tokenizer without pad its EOS


def rollout(prompt: list[int], response: list[int], first: float = 1.0) -> Rollout:
    """A rollout whose numbers count up from `first`."""
    numbers = first + torch.arange(len(response), dtype=torch.float)
    return Rollout(prompt, response, numbers, numbers + 10, numbers + 20, numbers + 30, None)


def test_batch_by_hand() -> None:
    """Padding and EOS have the same id 0, in prompts too: masks come from lengths."""
    batch = collate([rollout([7, 0, 8], [5, 0]), rollout([9], [4, 3, 0], first=5.0)])
    assert batch.tokens.tolist() == [[7, 0, 8, 5, 0], [9, 4, 3, 0, 0]]
    assert batch.prompt_lengths.tolist() == [3, 1]
    assert batch.responses.tolist() == [[5, 0, 0], [4, 3, 0]]
    assert batch.mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.logprobs.tolist() == [[1, 2, 0], [5, 6, 7]]
    assert batch.values.tolist() == [[11, 12, 0], [15, 16, 17]]
    assert batch.advantages.tolist() == [[21, 22, 0], [25, 26, 27]]
    assert batch.returns.tolist() == [[31, 32, 0], [35, 36, 37]]
    assert batch.trunk is None


def test_trunk_is_padded_behind() -> None:
    rows = [rollout([7], [5])._replace(trunk=torch.ones(2, 3)), rollout([7], [5, 6])._replace(trunk=torch.ones(3, 3))]
    assert collate(rows).trunk[:, :, 0].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_pad() -> None:
    assert pad([[1], [2, 3]], torch.long).tolist() == [[1, 0], [2, 3]]


@pytest.mark.parametrize(("n", "size", "parts", "steps"), [(12, 4, 1, 3), (10, 4, 2, 3), (5, 8, 3, 2), (2, 8, 4, 1)])
def test_minibatches_hold_every_rollout_once(n: int, size: int, parts: int, steps: int) -> None:
    epochs = []
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 50, (n,), generator=generator).tolist()
    for _ in range(2):
        updates = list(minibatches(lengths, size, parts, steps, generator))
        assert [len(update) for update in updates] == [parts] * steps
        assert sorted(row for update in updates for part in update for row in part) == list(range(n))
        assert all(sum(map(len, update)) <= size for update in updates)
        assert all(len(part) <= -(-size // parts) for update in updates for part in update)
        for update in updates:
            rows = [lengths[row] for part in update for row in part]
            assert rows == sorted(rows)  # those of a micro-batch are of like length
        epochs.append(updates)
    assert steps == 1 or n <= size or epochs[0] != epochs[1]


@pytest.mark.parametrize(("total", "processes"), [(8, 1), (8, 2), (7, 2), (3, 4)])
def test_shares_are_contiguous_and_whole(total: int, processes: int) -> None:
    shares = [list(shared_rows(total, processes, rank)) for rank in range(processes)]
    assert [row for share in shares for row in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_ids_sampled_are_ids_stored_and_trained(gptj_dir, tmp_path, monkeypatch) -> None:
    """A random model writes ids that decoding and encoding again would change: they must stay as they are."""
    sampled: list[list[int]] = []
    trained: list[list[int]] = []
    original = generation.sample

    def spy(*args):
        responses = original(*args)
        sampled.extend(response.ids for response in responses)
        return responses

    monkeypatch.setattr(generation, "sample", spy)
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path, train__epochs=1, method__ppo_epochs=1))
    rollouts, _ = trainer.make_experience()
    assert [r.response for r in rollouts] == sampled
    again = [trainer.tokenizer(trainer.tokenizer.decode(ids)).input_ids for ids in sampled]
    assert again != sampled, "this model's samples survive decoding: the test shows nothing"

    forward = trainer.model.forward

    def watch(tokens, prompt_lengths, responses, *args, **kwargs):
        trained.extend(row.tolist() for row in responses)
        for row, q, response in zip(tokens, prompt_lengths, responses, strict=True):
            assert row[q : q + len(response)].tolist() == response[: len(row) - q].tolist()
        return forward(tokens, prompt_lengths, responses, *args, **kwargs)

    trainer.model.forward = watch
    trainer.update([rollouts], rollouts[0])
    width = max(map(len, sampled))
    assert trained == [r.response + [0] * (width - len(r.response)) for r in rollouts]


def test_prompts_of_rollouts_are_the_cursors(gptj_dir, tmp_path) -> None:
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path))
    expected = PromptCursor(len(PROMPTS), trainer.config.train.seed).take(8)
    rollouts, _ = trainer.make_experience()
    assert [r.prompt for r in rollouts] == [trainer.prompts[i].ids for i in expected]


def episode(prompt: list[int], response: list[int]) -> Episode:
    return Episode(prompt, response, "", "", {})


def test_score_falls_on_the_last_response_token(gptj_dir, tmp_path) -> None:
    """No KL, no values, gamma ½, lambda 1: the return at token t is score · ½^(R − 1 − t)."""
    config = tiny_config(gptj_dir, tmp_path, method__gamma=0.5, method__lam=1.0)
    trainer = tiny_trainer(config)
    episodes = [episode([7], [5, EOS]), episode([7, 8], [4, 3, 2, EOS])]
    outputs = [
        {name: torch.zeros(len(e.response)) for name in ("logprobs", "values", "ref_logprobs", "entropy")}
        | {"trunk": None}
        for e in episodes
    ]
    tokens = experience.padded(episodes, outputs, torch.device("cpu"))
    rewards = kl_penalised_rewards(tokens.logprobs, tokens.ref_logprobs, torch.tensor([8.0, 16.0]), tokens.mask, 0.1)
    advantages = trainer.method.get_advantages_and_returns(tokens.values, rewards, mask=tokens.mask)
    rollouts = experience.make_rollouts(episodes, outputs, *advantages)
    assert rollouts[0].returns.tolist() == [4.0, 8.0]
    assert rollouts[1].returns.tolist() == [2.0, 4.0, 8.0, 16.0]


def test_eos_is_trained(gptj_dir, tmp_path) -> None:
    """With an advantage on EOS alone, an update makes EOS likelier there; its mask is 1 though pad is the same id."""
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path, method__vf_coef=0.0))
    batch = collate_tokens([[7, 8]], [[5, EOS]])
    assert batch.mask.tolist() == [[1, 1]]
    before = trainer.policy(batch.tokens, batch.prompt_lengths, batch.responses).logprobs.detach()
    zero = torch.zeros(2)
    made = Rollout([7, 8], [5, EOS], before[0], zero, torch.tensor([0.0, 1.0]), zero, None)
    trainer.update([[made]], made)
    after = trainer.policy(batch.tokens, batch.prompt_lengths, batch.responses).logprobs.detach()
    assert after[0, 1] > before[0, 1] + 0.01


def test_rollouts_hold_what_the_model_says_of_each_alone(gptj_dir, tmp_path) -> None:
    """Stored log-probabilities are those of transformers' own forward over prompt + response, row by row."""
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path))
    rollouts, _ = trainer.make_experience()
    for r in rollouts:
        logprobs = trainer.policy.model(torch.tensor([r.prompt + r.response])).logits[0].log_softmax(-1)
        expected = [logprobs[len(r.prompt) + t - 1, token].item() for t, token in enumerate(r.response)]
        torch.testing.assert_close(r.logprobs, torch.tensor(expected), rtol=0, atol=2e-6)
        assert r.trunk.shape == (len(r.prompt) + len(r.response), 32)


def test_statistics_by_hand(gptj_dir, tmp_path) -> None:
    """Two episodes, of 1 and 3 tokens; log-ratios .5 and (.1, .2, .3): KL .55 per episode, .275 per token."""
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path, method__num_rollouts=2))
    episodes = [episode([7], [EOS]), episode([7], [4, 3, 2])]
    ratios = torch.tensor([[0.5, 0.0, 0.0], [0.1, 0.2, 0.3]])
    entropy, mask = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 2.0]]), torch.tensor([[1, 0, 0], [1, 1, 1]])
    zero = torch.zeros(2, 3)
    stats = trainer.rollout_statistics(episodes, experience.PerToken(mask, ratios, zero, zero, entropy))
    assert stats["policy/kl"] == pytest.approx(0.55)
    assert stats["policy/kl_per_token"] == pytest.approx(0.275)
    k3 = ((-ratios).exp() - 1 + ratios).sum().item() / 2
    assert stats["policy/sqrt_kl"] == pytest.approx(k3**0.5)
    assert stats["rollouts/entropy"] == pytest.approx(1.5)
    assert stats["rollouts/response_length"] == 2.0
    assert stats["rollouts/eos_rate"] == 0.5
