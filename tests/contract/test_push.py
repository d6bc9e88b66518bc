"""Pushing a finished directory to the Hub: what is missing is one line, before any work. No Hub is asked here."""

import types

import huggingface_hub
import pytest

from summarize_rlhf import UserError, hub


@pytest.fixture
def api(monkeypatch) -> dict:
    """A login, and a Hub that notes what it is asked for."""
    asked = {}

    def create_repo(name, exist_ok):
        asked.update(repo=name, exist_ok=exist_ok)
        return types.SimpleNamespace(repo_id=f"me/{name}" if "/" not in name else name)

    stand_in = types.SimpleNamespace(create_repo=create_repo, upload_folder=lambda **given: asked.update(given))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: stand_in)
    monkeypatch.setattr(hub, "use_hub", lambda: True)
    return asked


def test_nothing_is_pushed_unasked(api):
    assert hub.repo_to_push(False, "me/model", "out") is None
    hub.push("out", None)
    assert api == {}


def test_without_a_login_it_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    told = "push_to_hub: there is no login to push me/model with. Run: hf auth login, or set HF_TOKEN"
    with pytest.raises(UserError, match=told):
        hub.repo_to_push(True, "me/model", "out")


def test_without_a_network_it_is_refused_at_once(api, monkeypatch):
    monkeypatch.setattr(hub, "use_hub", lambda: False)
    with pytest.raises(UserError, match=r"cannot be reached to push me/model.*: hf upload me/model runs/out"):
        hub.repo_to_push(True, "me/model", "runs/out")


@pytest.mark.parametrize("name", ["a/b/c", "me/..", "me/a b", "-x"])
def test_a_name_that_the_hub_does_not_take(api, name):
    with pytest.raises(UserError, match="is no name on the Hugging Face Hub: write OWNER/NAME"):
        hub.repo_to_push(True, name, "out")


def test_the_directory_is_uploaded_as_it_is(api, tmp_path, capsys):
    assert hub.repo_to_push(True, None, tmp_path / "my_sft") == "my_sft"
    hub.push(tmp_path / "my_sft", "my_sft")
    assert (api["repo"], api["repo_id"], api["folder_path"]) == ("my_sft", "me/my_sft", tmp_path / "my_sft")
    assert api["exist_ok"]
    assert "/me/my_sft" in capsys.readouterr().out


def test_a_refusal_of_the_hub_leaves_the_directory(api, monkeypatch):
    def refuse():
        raise OSError("403 Forbidden\nfor url …")

    monkeypatch.setattr(huggingface_hub, "HfApi", refuse)
    with pytest.raises(
        UserError, match=r"^out is complete, but was not pushed to me/x: 403 Forbidden. Try again: hf upload"
    ):
        hub.push("out", "me/x")
