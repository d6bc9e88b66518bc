"""wandb neither asks nor overrides what a user has chosen; stages are found together; samples are tables."""

import importlib.util
import os
import sys
import types

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from summarize_rlhf import UserError
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.run.trackers import TABLE_ROWS, check_tracker, log_table, quiet_wandb, run_name

ROWS = [{"prompt": f"a | <b>\n{i}", "output": "\x1b[31m & more", "reward": i / 3} for i in range(TABLE_ROWS + 5)]


def test_wandb_never_asks(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    quiet_wandb()
    assert os.environ["WANDB_MODE"] == "offline"


@pytest.mark.parametrize("login", ["key", "netrc", "mode"])
def test_a_login_or_a_users_own_mode_is_respected(monkeypatch, tmp_path, login):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if login == "key":
        monkeypatch.setenv("WANDB_API_KEY", "x")
    elif login == "netrc":
        (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
        (tmp_path / "netrc").chmod(0o600)
    else:
        monkeypatch.setenv("WANDB_MODE", "disabled")
    quiet_wandb()
    assert os.environ.get("WANDB_MODE") == ("disabled" if login == "mode" else None)


def test_a_tracker_that_is_not_installed_is_one_line(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trackio" else found(name))
    with pytest.raises(
        UserError, match="trackio is not installed: pip install trackio, or choose wandb, tensorboard or"
    ):
        check_tracker("trackio")
    for name in ("wandb", "tensorboard", "none", None):
        check_tracker(name)


def test_the_stages_of_a_run_share_its_name(tmp_path, tokenizer):
    sft, elsewhere = tmp_path / "seed_3/sft", tmp_path / "other/rm"
    assert run_name(None, sft) == "seed_3"
    assert run_name("mine", sft) == "mine"
    sft.mkdir(parents=True)
    assert run_name(None, elsewhere, sft) == "other"  # not by a stage of ours
    save_run(sft, run_record("sft", {}, tokenizer, 3, 550, {}, run_name="mine"))
    assert run_name(None, elsewhere, sft) == "mine"
    assert run_name("yours", elsewhere, sft) == "yours"
    save_run(sft, run_record("sft", {}, tokenizer, 3, 550, {}))  # by an earlier version
    assert run_name(None, elsewhere, sft) == "other"
    assert run_name(None, elsewhere, "owner/name") == "other"


def test_samples_are_a_table_at_wandb():
    logged = {}
    run = types.SimpleNamespace(log=lambda values, step: logged.update(values, step=step))
    log_table("wandb", run, "samples", ROWS, 7)
    assert isinstance(logged["samples"], wandb.Table)
    assert logged["samples"].columns == ["prompt", "output", "reward"]
    assert logged["samples"].data[2] == list(ROWS[2].values())
    assert len(logged["samples"].data) == TABLE_ROWS
    assert logged["step"] == 7


def test_samples_are_a_table_at_tensorboard(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        log_table("tensorboard", writer, "samples", ROWS, 7)
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    (event,) = read.Tensors("samples/text_summary")
    lines = event.tensor_proto.string_val[0].decode().splitlines()
    assert event.step == 7
    assert lines[:3] == [
        "| prompt | output | reward |",
        "| --- | --- | --- |",
        r"| a &#124; &lt;b> 0 | \x1b[31m &amp; more | 0.000 |",
    ]
    assert len(lines) == TABLE_ROWS + 2


def test_samples_are_a_table_at_trackio(monkeypatch):
    """Against a stand-in: the library is the user's choice to install."""
    logged = {}
    monkeypatch.setitem(sys.modules, "trackio", types.SimpleNamespace(Table=lambda dataframe: dataframe))
    run = types.SimpleNamespace(log=lambda values, step: logged.update(values, step=step))
    log_table("trackio", run, "samples", ROWS, 7)
    assert list(logged["samples"].columns) == ["prompt", "output", "reward"]
    assert len(logged["samples"]) == TABLE_ROWS
    assert logged["samples"].reward[3] == 1.0
    log_table("trackio", run, "none", [], 8)
    assert "none" not in logged
