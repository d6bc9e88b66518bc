"""Whether a setup fits what is there, and the nearest one that does."""

from collections.abc import Callable
from dataclasses import replace

from summarize_rlhf.plan.setups import Setup

GB = 1e9
SIZES = (24, 40, 48, 80, 141)  # GB of the GPUs that there are
CONTEXT = 1e9  # bytes of a GPU that CUDA, its libraries and NCCL take before the first tensor
PROCESS = 0.7e9  # bytes of main memory that Python and the libraries take before the first tensor


def needs(setup: Setup, gpu_bytes: float, host_bytes: float, host: float) -> dict[str, tuple[float, float]]:
    """Return what a setup needs of main memory and of each GPU, and what is there, in bytes.

    A GPU holds `gpu_bytes` of tensors, each process `host_bytes` in main memory, which has `host` bytes.
    """
    found = {"main memory": (setup.processes * (host_bytes + PROCESS), host)}
    if setup.size is not None:
        found["each GPU"] = (gpu_bytes + CONTEXT, setup.size * GB)
    return found


def filled(needed: dict[str, tuple[float, float]]) -> float:
    """Return the share of what is there that is needed, where that is most; 1: all of it."""
    return max(need / there for need, there in needed.values())


def nearest(setup: Setup, fitting: Callable[[Setup], bool]) -> Setup | None:
    """Return the nearest setup that fits: smaller batches, recomputed activations, larger and more GPUs.

    Without GPUs, fewer processes.
    """
    for gpus, size in devices_from(setup):
        there = replace(setup, gpus=gpus, size=size)
        if not fitting(replace(there, batch=1, checkpointing=True)):
            continue
        for checkpointing in dict.fromkeys((setup.checkpointing, True)):
            batch = setup.batch
            while batch:
                if fitting(replace(there, batch=batch, checkpointing=checkpointing)):
                    return replace(there, batch=batch, checkpointing=checkpointing)
                batch //= 2
    return None


def devices_from(setup: Setup) -> list[tuple[int, float | None]]:
    """Return numbers and sizes of devices to try, from those of a setup on."""
    here = (setup.gpus, setup.size)
    if setup.size is None:
        return [here, *((n, None) for n in (4, 2, 1) if n < setup.gpus)]
    larger = [(setup.gpus, size) for size in SIZES if size > setup.size]
    return [here, *larger, *((n, SIZES[-2]) for n in (2, 4, 8) if n > setup.gpus)]
