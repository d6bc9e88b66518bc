"""The versions of the libraries and of this repository."""

import importlib.metadata
import importlib.util

import pytest

from summarize_rlhf import UserError, versions
from summarize_rlhf.versions import check_versions


def test_all_versions_below_their_range_are_named_at_once(monkeypatch):
    found = importlib.metadata.version
    strange = {"torch": "1.13.0+cu117", "transformers": "4.45.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: strange.get(name) or found(name))
    with pytest.raises(UserError) as caught:
        check_versions.__wrapped__()
    (torch,) = [r for r in versions.requirements() if r.name == "torch"]
    assert f"torch 1.13.0+cu117 (tested {torch.specifier})" in str(caught.value)
    assert "transformers 4.45.0" in str(caught.value)
    assert "pip install -r requirements.txt" in str(caught.value)


def test_versions_above_their_range_are_told_and_taken(monkeypatch, capsys):
    found = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"torch": "9.0.0+cu1"}.get(name) or found(name))
    check_versions.__wrapped__()
    assert "note: later than what was tested: torch 9.0.0+cu1" in capsys.readouterr().out


def test_tested_versions_say_nothing(capsys):
    check_versions.__wrapped__()
    assert capsys.readouterr().out == ""


def test_a_missing_package_is_named(monkeypatch):
    found = importlib.metadata.version

    def version(name):
        if name == "peft":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(UserError, match="peft is missing"):
        check_versions.__wrapped__()


def test_an_old_trlx_in_site_packages_is_told(monkeypatch, tmp_path):
    (tmp_path / "trlx").mkdir()
    (tmp_path / "trlx" / "__init__.py").write_text("")
    spec = importlib.util.spec_from_file_location("trlx", tmp_path / "trlx" / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match=rf"'import trlx' would take {tmp_path}.*pip uninstall trlx"):
        check_versions.__wrapped__()


def test_the_commit_is_a_commit():
    assert versions.commit() is None or len(versions.commit().rstrip("+")) == 40
