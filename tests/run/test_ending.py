"""A process that has talked to others ends as its script does, whatever gloo's threads still hold."""

import os
import subprocess
import sys

import pytest
from launch import OF_A_LAUNCH, free_port

# Process 1 leaves while its all-gather still waits for process 0. Its exit then keeps the interpreter's lock for three
# seconds: gloo's thread, done by then, waits for the lock to let go of its tensors, and gets it in the middle of the
# taking apart, by the sleep of __del__. Without end_process that aborts the process every time.
LEAVING = """
import atexit, ctypes, os, sys, time

atexit.register(ctypes.PyDLL(None).sleep, 3)  # what is registered first runs last
atexit.register(lambda: print(os.environ["RANK"], "said goodbye"))

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(1)

slow = Slow()
import torch
import torch.distributed as dist
from summarize_rlhf import UserError
from summarize_rlhf.run.errors import main_guard

@main_guard
def main():
    global group  # as DeepSpeed keeps it
    dist.init_process_group("gloo")
    rank, group = dist.get_rank(), dist.group.WORLD
    time.sleep(1 - rank)
    work = dist.all_gather([torch.empty(1000) for _ in range(2)], torch.ones(1000), async_op=True)
    if rank == 0:
        work.wait()
    ENDING

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("ending", "code", "told"),
    [
        ("pass", 0, ""),
        ("raise UserError('no such thing')", 2, "error: no such thing\n"),
        ("raise SystemExit('so it goes')", 1, "so it goes\n"),
    ],
)
def test_it_ends_by_its_own_exit_code(root, tmp_path, ending: str, code: int, told: str) -> None:
    script = tmp_path / "leaving.py"
    script.write_text(LEAVING.replace("ENDING", ending))
    env = {name: value for name, value in os.environ.items() if name not in OF_A_LAUNCH} | {"PYTHONPATH": str(root)}
    env |= {"PYTHONUNBUFFERED": "", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", script],
            env=env | {"RANK": str(rank), "LOCAL_RANK": "0"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for rank, process in enumerate(started):
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (code, f"{rank} said goodbye\n", told)
