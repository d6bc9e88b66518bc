"""Checkpoints to go on from: whole or absent, checked, refused under other settings; disks that are full."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from summarize_rlhf import UserError
from summarize_rlhf.run.checkpoints import (
    MANIFEST,
    checkpoints,
    find,
    find_corruption,
    newest_complete,
    refuse_changes,
    rotate,
    signed,
    write_checkpoint,
)

SETTINGS = {"batch": 4, "betas": (0.9, 0.95), "eval_steps": 10}


def make(folder: Path, step: int, settings: dict | None = None) -> Path:
    """A checkpoint with files of several kinds, one in a folder of its own."""
    path = folder / f"checkpoint-{step}"
    with write_checkpoint(path, settings or SETTINGS) as tmp:
        save_file({"x": torch.arange(100.0)}, tmp / "model.safetensors")
        (tmp / "state").mkdir()
        torch.save({"y": torch.arange(50)}, tmp / "state" / "optimizer.pt")
        (tmp / "state.json").write_text(json.dumps({"step": step}))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- whole or absent


def test_a_checkpoint_is_whole_once_it_has_its_name(tmp_path):
    path = make(tmp_path, 3)
    assert find_corruption(path) is None
    assert names(tmp_path) == ["checkpoint-3"]
    marker = json.loads((path / MANIFEST).read_text())
    assert set(marker["files"]) == {"model.safetensors", "state/optimizer.pt", "state.json"}
    assert marker["settings"]["batch"] == 4


def test_what_fails_while_writing_leaves_nothing(tmp_path):
    make(tmp_path, 3)

    def fails():
        with write_checkpoint(tmp_path / "checkpoint-4", SETTINGS) as tmp:
            (tmp / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert names(tmp_path) == ["checkpoint-3"]


FILES = ["model.safetensors", "state/optimizer.pt", "state.json"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("fault", ["flipped", "truncated", "longer", "missing"])
def test_each_damaged_file_is_named_and_the_checkpoint_before_is_taken(tmp_path, capsys, file, fault):
    good, bad = make(tmp_path, 9), make(tmp_path, 10)
    content = bytearray((bad / file).read_bytes())
    if fault == "flipped":
        content[len(content) // 2] ^= 1
    elif fault == "truncated":
        content = content[:-1]
    elif fault == "longer":
        content += b"x"
    (bad / file).unlink() if fault == "missing" else (bad / file).write_bytes(content)
    assert newest_complete(tmp_path) == good
    out = capsys.readouterr().out
    assert f"passed over {bad}: {file} " in out


INFINITE = json.dumps(signed({"settings": {}, "files": {"state.json": {"bytes": 1e999, "sha256": ""}}})).encode()
LONG_NAME = json.dumps(signed({"settings": {}, "files": {"x" * 300: {"bytes": 1, "sha256": ""}}})).encode()


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"files": 3}', b"\xff\xfe", INFINITE, LONG_NAME])
def test_a_damaged_marker_is_no_marker(tmp_path, content):
    good, bad = make(tmp_path, 9), make(tmp_path, 10)
    (bad / MANIFEST).unlink()
    if content is not None:
        (bad / MANIFEST).write_bytes(content)
    assert newest_complete(tmp_path) == good


def test_a_marker_that_was_changed_is_seen(tmp_path):
    """So a flipped bit in a setting is damage, not another setting."""
    marker = make(tmp_path, 10) / MANIFEST
    marker.write_text(marker.read_text().replace('"batch": 4', '"batch": 5'))
    assert find_corruption(marker.parent) == "checkpoint.json is not what was written (its hash differs)"


def test_steps_are_numbers_and_other_folders_are_left_alone(tmp_path):
    for step in (9, 10, 100):
        make(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / ".checkpoint-101.tmp").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-100", "checkpoint-10", "checkpoint-9"]
    rotate(tmp_path, 2, 100)
    assert names(tmp_path) == [".checkpoint-101.tmp", "checkpoint-10", "checkpoint-100", "checkpoint-best"]


def test_rotation_keeps_at_least_the_one_just_written_and_those_of_later_steps(tmp_path):
    for step in (1, 2, 50):
        make(tmp_path, step)
    rotate(tmp_path, 0, 2)  # 50 is of another run, which had come further
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-50"]


# --- where a run goes on


def test_nothing_to_go_on_from(tmp_path):
    assert find(tmp_path / "absent", SETTINGS, frozenset(), fresh=False) is None
    assert newest_complete(tmp_path) is None


def test_the_newest_is_found_and_fresh_removes_all(tmp_path, capsys):
    make(tmp_path, 1)
    path = make(tmp_path, 2)
    assert find(tmp_path, SETTINGS, frozenset(), fresh=False) == path
    assert f"going on from {path}" in capsys.readouterr().out
    (tmp_path / "metrics.jsonl").touch()
    assert find(tmp_path, SETTINGS, frozenset(), fresh=True) is None
    assert names(tmp_path) == ["metrics.jsonl"]


def test_folders_of_somebody_else_are_never_removed(tmp_path, capsys):
    """Not by --fresh, not by rotation; one that stands where a checkpoint belongs is set aside."""
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "checkpoint-500" / "notes").write_text("mine")
    make(tmp_path, 8)
    rotate(tmp_path, 1, 500)
    assert find(tmp_path, SETTINGS, set(), fresh=True) is None
    assert names(tmp_path) == ["checkpoint-500"]
    make(tmp_path, 500)
    assert names(tmp_path) == ["checkpoint-500", "checkpoint-500.other-1"]
    assert (tmp_path / "checkpoint-500.other-1" / "notes").read_text() == "mine"
    assert "no run wrote it" in capsys.readouterr().out


def test_one_without_the_folder_it_needs_is_passed_over(tmp_path, capsys):
    first = make(tmp_path, 1)
    with write_checkpoint(tmp_path / "checkpoint-2", SETTINGS) as tmp:
        (tmp / "x").touch()
    assert find(tmp_path, SETTINGS, frozenset(), fresh=False, needs="state") == first
    assert "it has no folder 'state'" in capsys.readouterr().out


def test_changed_settings_are_refused_by_name_unless_they_are_free(tmp_path):
    make(tmp_path, 1)
    changed = SETTINGS | {"batch": 8, "eval_steps": 20, "new": "x"}
    with pytest.raises(UserError, match=r"eval_steps was 10, is 20; .*") as caught:
        find(tmp_path, changed, frozenset(), fresh=False)
    for told in ("batch was 4, is 8", 'new was null, is "x"', "--fresh", str(tmp_path / "checkpoint-1")):
        assert told in str(caught.value)
    with pytest.raises(UserError) as caught:
        find(tmp_path, changed, frozenset({"eval_steps", "new"}), fresh=False)
    assert "eval_steps" not in str(caught.value)
    find(tmp_path, changed, frozenset({"batch", "eval_steps", "new"}), fresh=False)


def test_tuples_and_lists_are_the_same_setting():
    refuse_changes({"betas": [0.9, 0.95]}, {"betas": (0.9, 0.95)}, frozenset(), "x")


# --- disks


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def by_safetensors(path: Path) -> None:
    save_file({"x": torch.zeros(10**6)}, path)


def by_torch(path: Path) -> None:
    torch.save({"x": torch.zeros(10**6)}, path)


def by_python(path: Path) -> None:
    path.write_bytes(b"0" * 4 * 10**6)


@pytest.mark.parametrize("writer", [by_safetensors, by_torch, by_python])
def test_a_full_disk_is_one_clear_error_and_the_checkpoint_before_stays(small_disk, writer):
    good = make(small_disk, 1)

    def fails():
        with write_checkpoint(small_disk / "checkpoint-2", SETTINGS) as tmp:
            writer(tmp / "big")

    with pytest.raises(UserError, match=r"cannot write .*checkpoint-2: No space left on device"):
        fails()
    assert names(small_disk) == ["checkpoint-1"]
    assert find_corruption(good) is None


# --- no code in a checkpoint
