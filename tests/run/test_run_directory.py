"""A run's directory: marked as ours before anything is written there, locked for one run at a time."""

import os
import signal
import subprocess
import sys

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.run.run_directory import MARKER, hold_run_directory, read_marker, release_run_directories

HOLDER = """
import sys
from summarize_rlhf.run.run_directory import hold_run_directory
hold_run_directory(sys.argv[1], "ppo")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def released():
    yield
    release_run_directories()


def test_a_second_run_is_refused_and_told_of_the_holder_until_that_dies(tmp_path):
    folder = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"another run is at work in {folder}: process {holder.pid} on .*, started"):
        hold_run_directory(folder, "ppo")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    hold_run_directory(folder, "ppo")
    hold_run_directory(folder, "ppo")  # the same process, again
    assert f"process {os.getpid()} " in read_marker(folder)["holder"]


def test_files_that_no_run_wrote_are_never_in_danger(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("mine")
    with pytest.raises(UserError, match="holds files that no run wrote"):
        hold_run_directory(tmp_path, "ppo")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    with pytest.raises(UserError, match="is a file"):
        hold_run_directory(tmp_path / "metrics.jsonl", "ppo")


def test_another_stages_directory_is_refused(tmp_path):
    hold_run_directory(tmp_path / "run", "sft")
    (tmp_path / "run" / "metrics.jsonl").touch()
    release_run_directories()
    with pytest.raises(UserError, match="holds a run of stage 'sft', this is stage 'ppo'"):
        hold_run_directory(tmp_path / "run", "ppo")
    hold_run_directory(tmp_path / "run", "sft")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\0" * 50])
def test_a_torn_marker_is_written_anew(tmp_path, content):
    (tmp_path / MARKER).write_text(content)
    hold_run_directory(tmp_path, "rm")
    assert read_marker(tmp_path)["stage"] == "rm"


def test_a_run_that_wrote_nothing_leaves_nothing(tmp_path):
    hold_run_directory(tmp_path / "empty", "rm")
    hold_run_directory(tmp_path / "used", "rm")
    (tmp_path / "used" / "metrics.jsonl").touch()
    release_run_directories()
    assert [path.name for path in tmp_path.iterdir()] == ["used"]
