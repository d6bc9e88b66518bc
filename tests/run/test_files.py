"""A directory appears whole or not at all, and nothing of the user's own is replaced."""

import errno
import os
from pathlib import Path

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.run.files import check_output_dir, write_directory


def fill(directory, content="new"):
    (directory / "weights").write_text(content)
    (directory / "run.json").write_text("{}")


def listing(path):
    return sorted(p.name for p in path.iterdir())


def test_a_directory_appears_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    with write_directory(out) as tmp:
        fill(tmp)
        assert not out.exists()
    assert listing(out) == ["run.json", "weights"]
    assert listing(out.parent) == ["out"]


def test_an_earlier_one_is_replaced_whole(tmp_path):
    out = tmp_path / "out"
    with write_directory(out) as tmp:
        fill(tmp, "old")
        (tmp / "stale").write_text("")
    with write_directory(out) as tmp:
        fill(tmp)
    assert listing(out) == ["run.json", "weights"]
    assert (out / "weights").read_text() == "new"
    assert listing(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_nothing(tmp_path, error):
    with pytest.raises(error), write_directory(tmp_path / "out") as tmp:
        fill(tmp)
        raise error
    assert listing(tmp_path) == []


def test_an_interruption_leaves_the_earlier_one(tmp_path):
    out = tmp_path / "out"
    with write_directory(out) as tmp:
        fill(tmp, "old")
    with pytest.raises(KeyboardInterrupt), write_directory(out) as tmp:
        fill(tmp)
        raise KeyboardInterrupt
    assert (out / "weights").read_text() == "old"
    assert listing(tmp_path) == ["out"]


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="No space left on device"), write_directory(tmp_path / "out") as tmp:
        fill(tmp)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert listing(tmp_path) == []


def test_a_failed_swap_puts_the_earlier_one_back(tmp_path, monkeypatch):
    out = tmp_path / "out"
    with write_directory(out) as tmp:
        fill(tmp, "old")
    rename = Path.rename

    def fail_second(self, target):
        if self.name == ".out.tmp":
            raise OSError(errno.EIO, "broken")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(OSError, match="broken"), write_directory(out) as tmp:
        fill(tmp)
    assert (out / "weights").read_text() == "old"
    assert listing(tmp_path) == ["out"]


def test_what_a_killed_process_left_is_cleared(tmp_path):
    fill_me = tmp_path / ".out.tmp"
    fill_me.mkdir()
    (fill_me / "half").write_text("")
    with write_directory(tmp_path / "out") as tmp:
        fill(tmp)
    assert listing(tmp_path / "out") == ["run.json", "weights"]
    assert listing(tmp_path) == ["out"]


def test_files_of_the_users_own_are_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds files that no stage wrote"):
        check_output_dir(tmp_path)
    with pytest.raises(UserError, match=r"no stage wrote"), write_directory(tmp_path):
        raise AssertionError("must not be reached")
    assert listing(tmp_path) == ["thesis.tex"]


def test_an_output_directory_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        check_output_dir(tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, so the answer is made
    with pytest.raises(UserError, match=rf"cannot write to {tmp_path}"):
        check_output_dir(tmp_path / "a" / "b")
