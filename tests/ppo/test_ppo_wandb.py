"""One training is one run at W&B, with one id: also several in one process, one that goes on, one that failed."""

import os
from pathlib import Path

import pytest
import torch
import wandb
from tiny_trlx import PROMPTS, length_reward, tiny_config
from torch import nn
from transformers import TrainingArguments

import trlx
from summarize_rlhf.run import trackers
from summarize_rlhf.run.kept import read_value
from summarize_rlhf.run.metrics import MetricsFile
from summarize_rlhf.run.resumable_trainer import ResumableTrainer
from summarize_rlhf.run.sampler import LengthGroupedSampler
from trlx.trainer.rewards import RewardError


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """W&B as it is without a login: runs are written to disk, their ids in the names of their folders."""
    monkeypatch.setattr(trackers, "_WANDB_IDS", set())
    for name in ("WANDB_RUN_ID", "WANDB_RESUME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield
    wandb.finish()
    wandb.teardown()  # its directory is read once per service
    assert "WANDB_RUN_ID" not in os.environ or os.environ["WANDB_RUN_ID"] == "mine"


def runs(folder: Path) -> list[str]:
    """The ids of the runs that were begun, in their order; one that went on stands twice."""
    folders = sorted(folder.glob("wandb/offline-run-*"), key=lambda path: path.stat().st_ctime_ns)
    return [path.name.rpartition("-")[2] for path in folders]


def id_of(folder: Path) -> str:
    return read_value(folder / "wandb_run_id")


def train_ppo(model: Path, out: Path, reward_fn=length_reward, **options):
    config = tiny_config(model, out, train__tracker="wandb", train__epochs=1, method__ppo_epochs=1, **options)
    return trlx.train(reward_fn=reward_fn, prompts=PROMPTS, config=config)


def test_two_ppo_trainings_are_two_runs_and_one_that_goes_on_is_its_own(gptj_dir, tmp_path) -> None:
    keep = {"train.save_optimizer": True, "train.resume_from_checkpoint": "auto"}
    train_ppo(gptj_dir, tmp_path / "a", **keep)
    train_ppo(gptj_dir, tmp_path / "b")
    first, second = id_of(tmp_path / "a"), id_of(tmp_path / "b")
    assert first != second
    assert runs(tmp_path) == [first, second]
    train_ppo(gptj_dir, tmp_path / "a", **keep)  # finds its checkpoint
    assert (id_of(tmp_path / "a"), id_of(tmp_path / "b")) == (first, second)
    assert set(runs(tmp_path)) == {first, second}


def test_a_training_that_failed_leaves_its_run_to_nobody(gptj_dir, tmp_path) -> None:
    def fails(outputs, **_):
        raise RuntimeError("no reward today")

    with pytest.raises(RewardError, match="no reward today"):
        train_ppo(gptj_dir, tmp_path / "a", fails)
    train_ppo(gptj_dir, tmp_path / "b")
    assert runs(tmp_path) == [id_of(tmp_path / "a"), id_of(tmp_path / "b")]
    assert id_of(tmp_path / "a") != id_of(tmp_path / "b")


def train_sft_like(out: Path, resume_from: str | None = None) -> ResumableTrainer:
    """The trainer of stages 1 and 2 on a model of one weight, for two steps."""

    class OneWeight(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, x):
            return self.layer(x).square().sum()

    class Squares(ResumableTrainer):
        def count(self, batch):
            return len(batch["x"])

        def total_loss(self, model, batch):
            return model(batch["x"]), None

    trainer = Squares(
        settings={"processes": 1},
        metrics=MetricsFile(out),
        minutes=None,
        order=LengthGroupedSampler([1, 1], 1, 0),
        model=OneWeight(),
        args=TrainingArguments(
            str(out),
            max_steps=2,
            per_device_train_batch_size=1,
            save_steps=1,
            save_total_limit=2,
            logging_steps=1,
            report_to="wandb",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=[{"x": torch.ones(1)}] * 2,
    )
    trainer.train(resume_from_checkpoint=resume_from)
    trainer.log({"rouge": 1.0})  # as stage 1 does behind its training
    return trainer


def test_two_trainings_of_a_stage_are_two_runs_and_one_that_goes_on_is_its_own(tmp_path) -> None:
    train_sft_like(tmp_path / "a")
    assert wandb.run.id == id_of(tmp_path / "a")
    assert wandb.run.summary["train/rouge"] == 1.0
    train_sft_like(tmp_path / "b")
    assert wandb.run.id == id_of(tmp_path / "b") != id_of(tmp_path / "a")
    first = id_of(tmp_path / "a")
    train_sft_like(tmp_path / "a", str(tmp_path / "a/checkpoint-1"))
    assert wandb.run.id == id_of(tmp_path / "a") == first


def test_a_run_of_the_users_own_is_used(tmp_path) -> None:
    """As under a W&B sweep, which starts the run itself."""
    mine = wandb.init(project="mine")
    train_sft_like(tmp_path / "a")
    assert wandb.run is mine


def test_an_id_of_the_users_own_belongs_to_the_first_run(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    a, b = tmp_path / "a", tmp_path / "b"
    assert trackers.wandb_run(a, goes_on=False) == {"id": "mine", "resume": "allow"}
    second = trackers.wandb_run(b, goes_on=False)["id"]
    assert second != "mine"
    assert trackers.wandb_run(b, goes_on=True)["id"] == second
    assert trackers.wandb_run(a, goes_on=True)["id"] == "mine"
    assert trackers.wandb_run(a, goes_on=False)["id"] != "mine"  # started over: another run

    monkeypatch.setattr(trackers, "_WANDB_IDS", set())  # another process
    monkeypatch.setenv("WANDB_RESUME", "must")
    assert trackers.wandb_run(b, goes_on=True) == {"id": "mine", "resume": "must"}
