"""A disk that fills up while a checkpoint is written: one clear error, the checkpoint before is kept, no debris."""

import subprocess
from pathlib import Path

import chaos
import pytest

from summarize_rlhf.run.checkpoints import checkpoints, find_corruption


@pytest.fixture
def disk(tmp_path):
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_full_disk_and_more_room_later(server, disk, tmp_path, stage):
    inputs = chaos.make_inputs(tmp_path / "inputs")
    case = chaos.STAGES[stage](inputs, disk, 1)
    each = '"train.checkpoint_interval": 1, "train.save_total_limit": null'  # a checkpoint at each step, all kept
    words = [word.replace('"train.checkpoint_interval": 4', each) for word in case.arguments]
    if stage == "sft":
        words += ["--save_total_limit", "1000", "--save_steps", "1"]
    case = case._replace(arguments=words)

    process = server.start_case(case)
    process.wait(120)
    told = chaos.output_of(process)
    assert process.returncode != 0
    assert "error: cannot write " in told, told[-3000:]
    assert "No space left on device. Nothing was left there" in told
    assert "Traceback" not in told[: told.index("error: cannot write ")]
    newest, *_ = checkpoints(case.checkpoints)
    assert find_corruption(newest) is None
    assert not chaos.being_written(case)
    assert [path for path in Path(disk).rglob(".*")] == []

    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    again = server.start_case(case)
    chaos.finish(again)
    assert f"going on from {newest}" in chaos.output_of(again)
