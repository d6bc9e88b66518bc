"""What a checkpoint of PPO has beside weights, optimizer and random numbers: all of it comes back."""

from types import SimpleNamespace

from trlx.trainer.checkpoint import Collection, Progress

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
