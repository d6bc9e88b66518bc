"""From responses and scores to rollouts, beside a model that says what it was given, and beside another rank."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from trlx.trainer import experience, rewards
from trlx.trainer.experience import logprobs_and_values, scale_scores
from trlx.trainer.rewards import Episode, RewardError, as_rows, check_scores, on_all_ranks, score
from trlx.utils.modeling import RunningMoments
from trlx_gptj_text_summarization import config

CPU = torch.device("cpu")


def episode(prompt: int, response: int) -> Episode:
    return Episode([7] * prompt, list(range(1, response + 1)), "", "", {})


# Longer and shorter ones mixed, as they come; they are run in the order of their lengths.
EPISODES = [episode(5, 4), episode(2, 1), episode(6, 2), episode(3, 3), episode(2, 2)]


class Model:
    """Log-probabilities are the response's ids times the temperature, values the prompt's length; calls are kept."""

    def __init__(self):
        self.calls: list[dict] = []

    def __call__(self, tokens, prompt_lengths, responses, temperature, trunk, **options) -> SimpleNamespace:
        assert not torch.is_grad_enabled()
        self.calls.append({"tokens": tokens, "prompts": prompt_lengths, "trunk": trunk, **options})
        logprobs, values = responses * temperature, prompt_lengths[:, None].expand(responses.shape).float()
        out = {"logprobs": logprobs, "ref_logprobs": -logprobs, "values": values, "entropy": values + 1}
        return SimpleNamespace(**out, trunk=tokens[..., None].float() if trunk is None else trunk)


@pytest.mark.parametrize("kept", [False, True])
def test_each_episode_has_what_the_model_says_of_it(kept: bool) -> None:
    """In the order in which they came; a kept trunk may hold more than a response that was cut at a stop sequence."""
    lengths = [len(e.prompt) + len(e.response) for e in EPISODES]
    trunks = [torch.arange(n + 3.0).view(-1, 1) + 100 * i if kept else None for i, n in enumerate(lengths)]
    model = Model()
    found = logprobs_and_values(model, EPISODES, trunks, 0.7, 2, 5, CPU)
    for i, (e, out) in enumerate(zip(EPISODES, found, strict=True)):
        said = torch.tensor(e.response) * 0.7
        torch.testing.assert_close(out["logprobs"], said)
        torch.testing.assert_close(out["ref_logprobs"], -said)
        assert out["values"].tolist() == [len(e.prompt)] * len(e.response)
        assert out["entropy"].tolist() == [len(e.prompt) + 1] * len(e.response)
        ids = torch.tensor(e.prompt + e.response)[:, None].float()
        assert torch.equal(out["trunk"], trunks[i][: lengths[i]] if kept else ids)
    for call in model.calls:
        assert call["trunk"] is None or call["trunk"].shape[:2] == call["tokens"].shape
        assert (call["keep_from"], call["with_reference"]) == (int(call["prompts"].min()) - 1, True)


def test_every_rank_makes_the_passes_of_the_largest_share() -> None:
    """Seven episodes elsewhere are four passes of two; the fourth runs the shortest here again."""
    model = Model()
    logprobs_and_values(model, EPISODES, [None] * 5, 1.0, 2, 7, CPU)
    assert [call["tokens"].shape for call in model.calls] == [(2, 4), (2, 8), (1, 9), (1, 3)]


def test_scores_of_all_ranks_move_the_moments(monkeypatch) -> None:
    """Here 1 and -3, clipped to -2, elsewhere 9, clipped to 2: deviations 2/3, -7/3 and 5/3 of the mean 1/3."""
    monkeypatch.setattr(experience, "gather_object", lambda rows: [*rows, (9.0, 2.0)])
    method = replace(config.method, cliprange_reward=2.0, scale_reward="running")
    std = ((4 + 49 + 25) / 9 / 2) ** 0.5
    totals, scaled, ref_std = scale_scores([torch.tensor(1.0), torch.tensor(-3.0)], method, RunningMoments(), None)
    assert totals.tolist() == [1.0, -3.0, 9.0]
    torch.testing.assert_close(scaled, torch.tensor([1.0, -2.0]) / std)
    assert ref_std == pytest.approx(std)


def test_rewards_per_token_of_other_lengths_are_padded() -> None:
    method = replace(config.method, cliprange_reward=None, scale_reward=None)
    _, scaled, _ = scale_scores([torch.tensor([1.0, 2.0]), torch.tensor([3.0])], method, RunningMoments(), None)
    assert scaled.tolist() == [[1.0, 2.0], [3.0, 0.0]]


# --- two ranks


def test_a_rank_gets_its_own_scores_of_those_that_the_first_made(monkeypatch) -> None:
    """Two episodes of rank 0 come before the three here."""
    gathered = iter([[episode(1, 1)] * 5, [None, None], [2, 3]])
    monkeypatch.setattr(rewards, "gather_object", lambda _: next(gathered))
    monkeypatch.setattr(rewards, "broadcast_object_list", lambda _: [[0.0, 1.0, 2.0, 3.0, 4.0]])
    rank = SimpleNamespace(is_main_process=False, process_index=1)
    assert score(rank, pytest.fail, [episode(1, 1)] * 3, None, everywhere=False) == [2.0, 3.0, 4.0]


def test_what_another_rank_raises_is_raised_here(monkeypatch) -> None:
    monkeypatch.setattr(rewards, "gather_object", lambda _: ["reward_fn failed there", None])
    for here in (True, False):
        with pytest.raises(RewardError, match="reward_fn failed there"):
            on_all_ranks(SimpleNamespace(), lambda: 1, here)


def test_scores_have_no_graph_and_a_log_has_their_sums() -> None:
    scores = [torch.tensor([1.0, 2.0], requires_grad=True)]
    (row,) = check_scores(scores, [episode(1, 2)], lambda text: SimpleNamespace(input_ids=[]))
    assert not row.requires_grad
    assert as_rows([episode(1, 2)], [row])[0]["score"] == 3.0
