"""Every process of a launch sees the run's directory, or all of them say which one does not.

`test_two_hosts.py` does it on two machines; here two processes of one are given directories of their own.
"""

import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from accelerate import PartialState
from launch import free_port

from summarize_rlhf import UserError
from summarize_rlhf.run import shared_disk
from summarize_rlhf.run.run_directory import MARKER, hold_run_directory, release_run_directories


def hold(rank: int, port: int, directory: Path, patience: float) -> str | None:
    """As one of two processes: the error that it ends with, if any."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    PartialState._reset_state()
    PartialState(cpu=True)
    shared_disk.PATIENCE = patience
    try:
        hold_run_directory(directory, "sft")
    except UserError as error:
        return str(error)
    finally:
        release_run_directories()
    return None


def hold_both(directories: list[Path], patience: float = 0.5) -> list[str | None]:
    port = free_port()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.starmap(hold, [(rank, port, path, patience) for rank, path in enumerate(directories)], chunksize=1)


def test_a_directory_that_both_see(tmp_path):
    assert hold_both([tmp_path / "run", tmp_path / "run"]) == [None, None]


def test_one_that_the_second_does_not_see(tmp_path):
    told = hold_both([tmp_path / "run", tmp_path / "elsewhere"])
    assert told[0] == told[1]
    assert "run is not the same directory on all machines: process 0 on" in told[0]
    assert f"has written {MARKER} there, but process 1 on" in told[0]
    assert "finds none (No such file or directory). Mount one disk under the same path" in told[0]
    assert list(tmp_path.iterdir()) == [], "a refused start leaves nothing"


def test_an_old_copy_is_not_the_directory(tmp_path):
    """Of a run that began on one disk, and was copied to the others."""
    assert hold_both([tmp_path / "run", tmp_path / "run"]) == [None, None]
    for name in ("run", "copy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER).write_text('{"stage": "sft", "holder": "somebody"}')
    told = hold_both([tmp_path / "run", tmp_path / "copy"])
    assert told[0] == told[1]
    assert "finds another file of that name" in told[0]


@pytest.mark.parametrize("delay", [0.0, 0.4])
def test_a_file_system_that_shows_it_late(tmp_path, monkeypatch, delay):
    """NFS answers from its cache for a while."""
    monkeypatch.setattr(shared_disk, "PATIENCE", 5.0)
    (tmp_path / "there").write_text("x")
    late = threading.Timer(delay, shutil.copy, [tmp_path / "there", tmp_path / "here"])
    late.start()
    start = time.monotonic()
    assert shared_disk._differs(tmp_path / "here", b"x") is None
    assert time.monotonic() - start < 3
