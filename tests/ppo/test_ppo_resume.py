"""PPO goes on from any step as if it had not been interrupted; what ends it, and what that costs."""

import math
import time
from pathlib import Path

import pytest
import torch
from logged import metrics
from safetensors.torch import load_file
from tiny_trlx import PROMPTS, length_reward, tiny_config, tiny_trainer

import trlx
from summarize_rlhf import UserError
from summarize_rlhf.run.checkpoints import find_corruption
from summarize_rlhf.run.preemption import Preempted, Preemption
from trlx.data.configs import may_change_names
from trlx.pipeline.rollouts import Rollout, from_tensors, to_tensors
from trlx.trainer.checkpoint import settings
from trlx.trainer.rewards import RewardError

OPTIONS = {
    "train.save_optimizer": True,
    "train.epochs": 3,
    "train.eval_interval": 3,
    "train.save_best": True,
    "train.resume_from_checkpoint": "auto",
    "method.scale_reward": "running",
    "method.target": 0.1,
    "scheduler.kwargs": {"T_max": 10, "eta_min": 1e-3},
}
STEPS = 12  # 3 collections × 2 PPO epochs × 2 updates


def train(gptj_dir: Path, out: Path, reward_fn=length_reward, **options):
    config = tiny_config(gptj_dir, out, **(OPTIONS | options))
    return trlx.train(reward_fn=reward_fn, prompts=PROMPTS, eval_prompts=PROMPTS[:4], config=config)


def outcome(out: Path) -> tuple[list[dict], str, dict[str, torch.Tensor]]:
    """What was logged but for the clock, all samples, and the last weights."""
    weights = load_file(out / f"checkpoint_{STEPS}/hf_model/model.safetensors")
    return metrics(out), (out / "samples.jsonl").read_text(), weights


@pytest.fixture(scope="module")
def expected(gptj_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    train(gptj_dir, out)
    return outcome(out)


def assert_as_if_never_interrupted(out: Path, expected) -> None:
    lines, samples, weights = outcome(out)
    assert lines == expected[0]
    assert samples == expected[1]
    assert weights.keys() == expected[2].keys()
    assert all(torch.equal(weights[name], expected[2][name]) for name in weights)


@pytest.mark.parametrize("after", range(1, STEPS + 4))
def test_a_signal_at_any_moment_costs_nothing(gptj_dir, tmp_path, monkeypatch, expected, after) -> None:
    """The trainer asks once a collection and once an update, 15 times in all; the signal comes before the n-th."""
    asked = []
    original = Preemption.agree

    def agree(self) -> tuple[bool, bool]:
        asked.append(1)
        if len(asked) == after:
            self.asked = time.monotonic()
        return original(self)

    monkeypatch.setattr(Preemption, "agree", agree)
    with pytest.raises(Preempted):
        train(gptj_dir, tmp_path)
    (made,) = tmp_path.glob("checkpoint_*")
    assert find_corruption(made) is None
    train(gptj_dir, tmp_path)
    assert_as_if_never_interrupted(tmp_path, expected)


def test_by_the_clock_and_by_steps_and_no_more_than_asked(gptj_dir, tmp_path) -> None:
    train(gptj_dir, tmp_path, **{"train.checkpoint_minutes": 0.0, "train.save_total_limit": 2})
    assert {path.name for path in tmp_path.glob("checkpoint_*")} == {"checkpoint_11", "checkpoint_12"}
    config = {"train.checkpoint_interval": 5, "train.save_total_limit": None, "train.checkpoint_minutes": None}
    train(gptj_dir, tmp_path / "steps", **config)
    assert {path.name for path in (tmp_path / "steps").glob("checkpoint_*")} == {
        "checkpoint_5",
        "checkpoint_10",
        "checkpoint_12",
    }


def test_a_damaged_checkpoint_is_passed_over(gptj_dir, tmp_path, expected, capsys) -> None:
    train(gptj_dir, tmp_path, **{"train.checkpoint_interval": 5, "train.epochs": 3, "train.total_steps": 10})
    file = tmp_path / "checkpoint_10/state/optimizer.bin"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    train(gptj_dir, tmp_path)
    assert (
        f"passed over {tmp_path}/checkpoint_10: state/optimizer.bin is not what was written" in capsys.readouterr().out
    )
    lines, _, weights = outcome(tmp_path)
    assert lines == expected[0]
    assert all(torch.equal(weights[name], expected[2][name]) for name in weights)
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot resume from .*checkpoint_5: state/optimizer.bin has 0 bytes"):
        damaged = tmp_path / "checkpoint_5"
        (damaged / "state/optimizer.bin").write_bytes(b"")
        train(gptj_dir, tmp_path, **{"train.resume_from_checkpoint": str(damaged)})


def test_fresh_starts_over(gptj_dir, tmp_path, expected) -> None:
    train(gptj_dir, tmp_path, **{"train.total_steps": 5, "train.seed": 3})
    train(gptj_dir, tmp_path, **{"train.resume_from_checkpoint": "fresh"})
    assert {path.name for path in tmp_path.glob("checkpoint_*")} == {"checkpoint_12"}
    assert_as_if_never_interrupted(tmp_path, expected)


# ------------------------------------------------------------ other settings


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"train.batch_size": 2}, "train.batch_size was 4, is 2"),
        ({"train.seed": 7}, "train.seed was 1000, is 7"),
        ({"method.init_kl_coef": 0.5}, "method.init_kl_coef was 0.001, is 0.5"),
        ({"model.num_layers_unfrozen": 2}, "model.num_layers_unfrozen was 1, is 2"),
        ({"optimizer.kwargs.lr": 1.0}, "optimizer.kwargs.lr was 0.01, is 1.0"),
        ({"train.trainer_kwargs": {"identity": {"data": "b"}}}, "train.trainer_kwargs.identity.data was null"),
    ],
)
def test_what_would_be_another_run_is_refused_by_name(gptj_dir, tmp_path, options, told) -> None:
    train(gptj_dir, tmp_path, **{"train.total_steps": 2})
    with pytest.raises(UserError, match=told):
        train(gptj_dir, tmp_path, **options)


def test_what_changes_nothing_may_change(gptj_dir, tmp_path) -> None:
    train(gptj_dir, tmp_path, **{"train.total_steps": 5})
    changed = {"train.eval_interval": 100, "train.run_name": "x", "train.minibatch_size": 2, "method.chunk_size": 2}
    trainer = train(gptj_dir, tmp_path, **changed, **{"train.guards": {"action": "stop"}, "train.epochs": 4})
    assert trainer.step == 16
    assert set(settings(trainer)) > may_change_names() - {"train.guards"}


def test_updates_in_other_micro_batches_stay_the_same(gptj_dir, tmp_path) -> None:
    """After an odd number of updates of one micro-batch each, those of two begin with their first one."""
    for name, more in (("whole", {}), ("cut", {"train.total_steps": 5}), ("cut", {"train.minibatch_size": 2})):
        more |= {"optimizer.kwargs.eps": 1e-3}  # rounding must not decide the sign of a step
        train(gptj_dir, tmp_path / name, **more)
    torch.testing.assert_close(*(outcome(tmp_path / name)[2] for name in ("cut", "whole")), rtol=0, atol=1e-5)


# ------------------------------------------------------- a reward that fails


class Fails:
    """A reward function that fails in its n-th call, in the way of `how`."""

    def __init__(self, at: int, how: str):
        self.at, self.how, self.calls = at, how, 0

    def __call__(self, samples, outputs, **_):
        self.calls += 1
        scores = length_reward(outputs)
        if self.calls < self.at:
            return scores
        if self.how == "raises":
            if any("so" in text for text in samples):
                raise ZeroDivisionError("no length")
            return scores
        return {
            "nan": [*scores[:-1], math.nan],
            "inf": [math.inf, *scores[1:]],
            "count": scores[1:],
            "type": "good",
        }[self.how]


@pytest.mark.parametrize("at", [1, 2, 3, 4])  # the first evaluation, a collection, an evaluation, a collection …
@pytest.mark.parametrize(
    ("how", "told"),
    [
        (
            "raises",
            r"reward_fn failed with ZeroDivisionError: no length \(.*ppo/test_ppo_resume.py:\d+\), on sample \d: .*so",
        ),
        ("nan", r"reward_fn returned nan for sample \d: '"),
        ("inf", r"reward_fn returned inf for sample 0: '"),
        ("count", r"reward_fn returned \d rewards for \d samples"),
        ("type", r"reward_fn must return numbers.* it returned str"),
    ],
)
def test_a_reward_that_fails_is_named_and_costs_nothing(gptj_dir, tmp_path, expected, at, how, told) -> None:
    with pytest.raises(RewardError, match=told):
        train(gptj_dir, tmp_path, reward_fn=Fails(at, how))
    (made,) = tmp_path.glob("checkpoint_*")
    assert find_corruption(made) is None
    train(gptj_dir, tmp_path)
    assert_as_if_never_interrupted(tmp_path, expected)


def test_a_failure_on_the_batch_alone_is_said_so(gptj_dir, tmp_path) -> None:
    def reward_fn(outputs, **_):
        if len(outputs) > 1:
            raise RuntimeError("out of memory")
        return [0.0]

    with pytest.raises(RewardError, match=r"out of memory .*on \d samples together, on none of them alone"):
        train(gptj_dir, tmp_path, reward_fn=reward_fn)


def test_a_metric_that_fails_is_named(gptj_dir, tmp_path) -> None:
    config = tiny_config(gptj_dir, tmp_path, **OPTIONS)
    with pytest.raises(RewardError, match=r"metric_fn failed with KeyError: 'label'.*on sample 0"):
        trlx.train(
            reward_fn=length_reward, metric_fn=lambda label=None, **kw: kw["label"], prompts=PROMPTS, config=config
        )


# ------------------------------------------------------------------ NaN


def test_a_loss_that_is_no_number_stops_with_the_last_checkpoint_kept(gptj_dir, tmp_path) -> None:
    with pytest.raises(UserError, match=r"losses/total_loss is nan at step \d+: lower optimizer.kwargs.lr"):
        train(gptj_dir, tmp_path, **{"optimizer.kwargs.lr": 1e30, "train.checkpoint_interval": 1})
    (made,) = tmp_path.glob("checkpoint_*")
    assert made.name != f"checkpoint_{STEPS}"
    assert find_corruption(made) is None
    assert all(x.isfinite().all() for x in load_file(made / "hf_model/model.safetensors").values())


# ------------------------------------------------------- rollouts on disk


@pytest.mark.parametrize("trunk", [False, True])
def test_rollouts_come_back_as_they_were(gptj_dir, tmp_path, trunk) -> None:
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path))
    rollouts, _ = trainer.make_experience()
    rollouts = rollouts if trunk else [r._replace(trunk=None) for r in rollouts]
    again = from_tensors(to_tensors(rollouts), "cpu")
    assert len(again) == len(rollouts)
    for one, other in zip(again, rollouts, strict=True):
        for name in Rollout._fields:
            a, b = getattr(one, name), getattr(other, name)
            assert torch.equal(a, b) if isinstance(b, torch.Tensor) else a == b, name
    assert from_tensors(to_tensors([]), "cpu") == []
