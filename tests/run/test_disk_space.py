"""What a run will write is compared with what is free before it begins, and the estimate is what it then writes."""

import shutil
import subprocess

import pytest
from good_input import World, arguments
from tiny_trlx import PROMPTS, length_reward, tiny_config
from torch import nn

import trlx
from summarize_rlhf import UserError
from summarize_rlhf.run import disk_space
from summarize_rlhf.run.disk_space import ADAM, FP32, Need, check_free, held, training_needs

GB = 10**9


def free(monkeypatch, size: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**15, 0, size))


def test_needs_of_one_disk_add_up(tmp_path, monkeypatch):
    free(monkeypatch, 5 * GB)
    needs = [Need("checkpoints", tmp_path / "a/b", 3 * GB), Need("the model", tmp_path / "c", 3 * GB)]
    check_free(needs[:1])
    with pytest.raises(UserError, match=r"write 6\.00 GB where 5\.00 GB are free \(checkpoints in .*: 3\.00 GB; the"):
        check_free(needs)
    assert list(tmp_path.iterdir()) == []


def test_two_disks_are_counted_apart(tmp_path, monkeypatch):
    free(monkeypatch, 5 * GB)
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(disk_space, "device_of", lambda path: path.name == "other")
    check_free([Need("a", tmp_path, 3 * GB), Need("b", tmp_path / "other", 3 * GB)])


def test_by_hand(tmp_path):
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 5, bias=False))
    model[0].requires_grad_(False)
    one = FP32 * 150 + ADAM * 50
    needs = {need.what: need.bytes for need in training_needs(model, tmp_path / "s", tmp_path / "o", 2, True)}
    assert needs == {"3 step checkpoints": 3 * one, "the trained model": 600, "best models": 400}
    (tmp_path / "s").mkdir()
    (tmp_path / "s/kept").write_bytes(b"x" * one)
    assert training_needs(model, tmp_path / "s", tmp_path / "o", 2)[0].bytes == 2 * one
    (tmp_path / "s/kept").write_bytes(b"x" * 10 * one)
    assert training_needs(model, tmp_path / "s", tmp_path / "o", 2)[0].bytes == one  # the next one is written first


def test_a_ppo_checkpoint_has_the_estimated_size(gptj_dir, tmp_path, monkeypatch):
    asked: list[Need] = []
    monkeypatch.setattr("trlx.trlx.check_free", lambda needs: asked.extend(needs))
    options = {"train.save_optimizer": True, "train.save_total_limit": 1, "model.num_layers_unfrozen": 1}
    trlx.train(reward_fn=length_reward, prompts=PROMPTS, config=tiny_config(gptj_dir, tmp_path, **options))
    (made,) = tmp_path.glob("checkpoint_*")
    (need,) = [need for need in asked if need.what == "2 checkpoints"]
    written = held(made)
    assert need.bytes / 2 * 0.7 < written < need.bytes / 2 + 200_000  # DDP keeps no fp32 copy; rollouts, tokenizer


@pytest.fixture(scope="module")
def world(tmp_path_factory, gptj_dir, tldr_dir, comparisons_dir) -> World:
    return World(tmp_path_factory.mktemp("world"), gptj_dir, tldr_dir, comparisons_dir)


@pytest.mark.parametrize("stage", ["sft", "rm", "ppo"])
def test_each_stage_asks_before_it_trains(server, world, tmp_path, stage):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    try:
        values = world.values(stage, tmp_path)
        place = "train.checkpoint_dir" if stage == "ppo" else "output_dir"
        ended = server.run(stage, arguments(stage, values | {place: disk / "out"}), tmp_path)
        assert ended.code == 2, ended.err[-3000:]
        assert "this run will write " in ended.error
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
