"""Output directories that would fail after hours are refused at the start; files are written all or none."""

import os
import subprocess

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.run.files import (
    check_output_dir,
    check_results_dir,
    recover_directory,
    write_directory,
    write_files,
)


def write(path, text: str) -> None:
    with write_directory(path) as tmp:
        (tmp / "run.json").write_text(text)


def test_a_link_is_followed(tmp_path):
    """The directory that it names is replaced, not the link."""
    (tmp_path / "large").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "large")
    for text in ("first", "second"):
        write(tmp_path / "out", text)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "large/run.json").read_text() == "second"


def test_a_mount_point_is_refused_before_any_work(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", out], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs rights that this user does not have")
    try:
        with pytest.raises(UserError, match="is a mount point, which cannot be replaced: name one inside it"):
            check_output_dir(out)
        write(out / "inside", "fine")
    finally:
        subprocess.run(["umount", out], check=True)


def test_a_name_that_leaves_no_room_is_refused(tmp_path):
    most = os.pathconf(tmp_path, "PC_NAME_MAX") - len("..tmp.tmp")
    check_output_dir(tmp_path / ("n" * most))
    write(tmp_path / ("n" * most), "fine")
    with pytest.raises(UserError, match="is too long"):
        check_output_dir(tmp_path / ("n" * (most + 1)))
    with pytest.raises(UserError, match="is too long"):
        check_output_dir(tmp_path / ("é" * (most // 2 + 1)))


def test_a_directory_between_two_renames_gets_its_name_back(tmp_path):
    write(tmp_path / "out", "old")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    recover_directory(tmp_path / "out")
    assert (tmp_path / "out/run.json").read_text() == "old"
    (tmp_path / "out").rename(tmp_path / ".out.old")
    with pytest.raises(ZeroDivisionError), write_directory(tmp_path / "out"):
        raise ZeroDivisionError
    assert (tmp_path / "out/run.json").read_text() == "old"


def test_files_are_written_all_or_none(tmp_path, monkeypatch):
    write_files(tmp_path / "out", {"a.csv": "1\r\n", "b.json": "é"})
    assert (tmp_path / "out/a.csv").read_bytes() == b"1\r\n"
    synced = []

    def full(path):
        synced.append(path)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("summarize_rlhf.run.files.sync_file", full)
    with pytest.raises(UserError, match=r"cannot write .*out: No space left"):
        write_files(tmp_path / "out", {"a.csv": "2", "b.json": "3", "c": "4"})
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"a.csv": "1\n", "b.json": "é"}


def test_results_cannot_go_into_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        check_results_dir(tmp_path / "file")
    check_results_dir(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
