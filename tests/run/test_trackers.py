"""wandb neither asks nor overrides what a user has chosen."""

import os

import pytest

from summarize_rlhf.run.trackers import quiet_wandb


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
