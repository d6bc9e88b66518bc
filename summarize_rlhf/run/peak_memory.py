"""The most memory that the processes of a launch have held: what a stage logs at its end."""

import re
import resource
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

STATUS = Path("/proc/self/status")  # Linux
HOST, GPU = "memory/peak_host_gb", "memory/peak_gpu_gb"  # names in metrics.jsonl


def peak_host_gb() -> float:
    """Return the most main memory that this process has had resident since it started, in GB."""
    own = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="utf-8")) if STATUS.is_file() else None
    # On Linux the latter also counts what the parent had when it started this process.
    kib = int(own[1]) if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kib / (1e9 if sys.platform == "darwin" else 1e9 / 1024), 3)  # there in bytes


def peak_gpu_gb() -> float:
    """Return the most memory that this process has had in tensors on any one GPU, in GB."""
    gpus = range(torch.cuda.device_count())  # PPO's reward model may have a GPU of its own
    return round(max(torch.cuda.max_memory_allocated(gpu) for gpu in gpus) / 1e9, 3)


def peak_memory() -> dict[str, float]:
    """Return `HOST` and, where there are GPUs, `GPU`: of each the most that any process of the launch had, in GB.

    All processes call this. After a resumption it is about the processes that run now.
    """
    own = {HOST: peak_host_gb()} | ({GPU: peak_gpu_gb()} if torch.cuda.is_available() else {})
    everyone = gather_object([own]) if PartialState().num_processes > 1 else [own]
    return {name: max(one[name] for one in everyone) for name in own}
