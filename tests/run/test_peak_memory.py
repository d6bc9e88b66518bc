"""The most memory that any process of a launch had, though it has been given back."""

import json
import mmap
import os
import subprocess
import sys

import pytest
import torch
from forked import forked
from launch import OF_A_LAUNCH, free_port

from summarize_rlhf.run import peak_memory as peak_memory_module
from summarize_rlhf.run.peak_memory import GPU, HOST, peak_gpu_gb, peak_host_gb, peak_memory

# Process 1 of two has 300 MB for a moment.
RANK = """
import json
from accelerate import PartialState
from summarize_rlhf.run.ending import end_process
from summarize_rlhf.run.peak_memory import peak_host_gb, peak_memory
rank = PartialState(cpu=True).process_index
if rank == 1:
    bytearray(b"x") * 300_000_000
print(json.dumps([peak_host_gb(), peak_memory()]))
end_process(0)
"""


def rise() -> float:
    before = peak_host_gb()
    with mmap.mmap(-1, 300_000_000) as fresh:  # what the allocator has kept of other tests does not hold it
        fresh[:: mmap.PAGESIZE] = b"x" * len(range(0, len(fresh), mmap.PAGESIZE))
    return peak_host_gb() - before


def test_what_was_given_back_counts() -> None:
    assert forked(rise) == pytest.approx(0.3, abs=0.03)


def test_a_system_without_proc_asks_getrusage(monkeypatch, tmp_path) -> None:
    own = peak_host_gb()
    monkeypatch.setattr(peak_memory_module, "STATUS", tmp_path / "none")
    assert own - 0.01 < peak_host_gb() < own + 10


def test_alone_there_is_one_process_and_here_no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert peak_memory() == {HOST: peak_host_gb()}


def test_the_most_of_any_process() -> None:
    """Both processes are told that of the larger one."""
    own = {name: value for name, value in os.environ.items() if name not in OF_A_LAUNCH}
    launch = own | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK], env=launch | {"RANK": rank, "LOCAL_RANK": rank}, stdout=subprocess.PIPE
        )
        for rank in "01"
    ]
    (small, told), (large, also_told) = (json.loads(process.communicate(timeout=120)[0]) for process in ranks)
    assert large > small + 0.2
    assert told[HOST] == also_told[HOST] == pytest.approx(large, abs=0.01)


def test_the_fullest_gpu(monkeypatch) -> None:
    """PPO's reward model may have a GPU of its own."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda gpu: [2_500_000_000, 7_000_000_000][gpu])
    assert peak_gpu_gb() == 7.0
    assert peak_memory()[GPU] == 7.0
