"""A checkpoint of PPO: what comes back beside weights, optimizer and random numbers, its bytes, and whose it is."""

import shutil
from types import SimpleNamespace

import pytest
from tiny_trlx import tiny_config, tiny_trainer
from torch import nn

from trlx.trainer.checkpoint import Collection, Progress, run_needs, settings

PARTS = ("moments", "cursor", "scheduler", "guards", "log")


class Part:
    """A part of the trainer with a state of its own."""

    def __init__(self, content: str):
        self.content = content

    def state_dict(self) -> dict[str, str]:
        return {"content": self.content}

    def load_state_dict(self, state: dict[str, str]) -> None:
        self.content = state["content"]


def trainer(new: bool) -> SimpleNamespace:
    """One that has come somewhere, or one that has just been built."""
    numbers = {"step": 7, "iteration": 3, "best_reward": 1.5, "evaluated": 6, "evaluation_due": True, "ref_std": 0.25}
    parts = {name: Part("fresh" if new else name) for name in PARTS}
    made = SimpleNamespace(**(dict.fromkeys(numbers) if new else numbers), **parts)
    made.kl_controller = SimpleNamespace(value=0.0 if new else 0.125)
    made.collection = None if new else Collection(["a rollout"], kl=2.5, epoch=2, update=5)
    return made


def test_each_part_comes_back() -> None:
    before, after = trainer(new=False), trainer(new=True)
    Progress(after).load_state_dict(Progress(before).state_dict())
    assert (after.step, after.iteration, after.best_reward) == (7, 3, 1.5)
    assert (after.evaluated, after.evaluation_due, after.ref_std) == (6, True, 0.25)
    assert [getattr(after, name).content for name in PARTS] == list(PARTS)
    assert after.kl_controller.value == 0.125
    assert after.collection == Collection([], kl=2.5, epoch=2, update=5)  # its rollouts lie in a file of their own


def test_between_collections_there_is_none() -> None:
    before, after = trainer(new=False), trainer(new=False)
    before.collection = None
    Progress(after).load_state_dict(Progress(before).state_dict())
    assert after.collection is None


# --- its bytes


def needs(folder, **train: object) -> list[tuple[str, int]]:
    """Of a model of 6 weights and a value head of 2, which alone trains."""
    policy = nn.Module()
    policy.causal_lm, policy.v_head = nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False)
    policy.causal_lm.requires_grad_(False)
    policy.is_adapter = train.pop("is_adapter", False)
    given = {"checkpoint_dir": str(folder), "save_optimizer": True, "save_total_limit": 1, "save_best": False} | train
    made = SimpleNamespace(policy=policy, config=SimpleNamespace(train=SimpleNamespace(**given)))
    return [(need.what, need.bytes) for need in run_needs(made)]


@pytest.mark.parametrize(
    ("options", "one", "best"),
    [
        ({}, 4 * 6 + 4 * 8 + 12 * 2, 4 * 6),  # the model, the state's weights, moments and an fp32 copy
        ({"save_optimizer": False}, 4 * 6, 4 * 6),
        ({"is_adapter": True}, 4 * 2 + 4 * 8 + 12 * 2, 4 * 2),
    ],
)
def test_the_bytes_of_a_run_by_hand(tmp_path, options, one: int, best: int) -> None:
    """One that is kept and one that is being written; what lies there already counts, but one more is always needed."""
    assert needs(tmp_path, **options) == [("2 checkpoints", 2 * one)]
    assert needs(tmp_path, save_best=True, **options)[1:] == [("the best policy", best)]
    (tmp_path / "there").write_bytes(bytes(10))
    assert needs(tmp_path, **options) == [("2 checkpoints", 2 * one - 10)]
    (tmp_path / "there").write_bytes(bytes(1000))
    assert needs(tmp_path, **options) == [("2 checkpoints", one)]


# --- whose it is


def test_a_model_is_known_by_its_weights_wherever_it_lies(gptj_dir, tmp_path) -> None:
    shutil.copytree(gptj_dir, tmp_path / "moved")
    here, moved = (settings(tiny_trainer(tiny_config(path, tmp_path))) for path in (gptj_dir, tmp_path / "moved"))
    assert here == moved
    assert here["model.model_path"] != str(gptj_dir)


def test_a_run_is_known_by_its_prompts_and_by_where_its_responses_end(gptj_dir, tmp_path) -> None:
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path))
    before = settings(trainer)
    trainer.stop_sequences = ["\n"]
    assert {name for name, x in settings(trainer).items() if x != before[name]} == {"stop_sequences"}
    found = []
    for texts in (["ab", "c"], ["a", "bc"]):
        items = trainer.prompts.items
        items[:2] = [item._replace(text=text) for item, text in zip(items[:2], texts, strict=True)]
        found.append(settings(trainer)["prompts"])
    assert found[0] != found[1]
