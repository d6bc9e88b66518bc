"""Measure the machine under a benchmark: load by others, speed of matrix products, memory of a process."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

STAT = Path("/proc/stat")
SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 256, 1024))  # squares, and a feed-forward layer of the model
# Attention's kernel on the CPU, which torch's counter does not know; counted as it counts the other kernels.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, query, key, value, *_, **__: sdpa_backward_flop_count(gradient, query, key, value)
    ),
}


def busy_seconds() -> float | None:
    """Return the busy seconds of all cores since boot, summed; None where the system does not report them."""
    if not STAT.is_file():
        return None
    first = STAT.read_text(encoding="utf-8").split("\n")[0]
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, first.split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def busy_share(seconds: float = 2.0) -> float | None:
    """Return the share of the machine in use over `seconds`, while this process sleeps; None where unknown."""
    start, before = time.perf_counter(), busy_seconds()
    time.sleep(seconds)
    after = busy_seconds()
    if before is None or after is None:
        return None
    return (after - before) / ((time.perf_counter() - start) * os.cpu_count())


class Others:
    """Measure the share of the machine used by others while a block waits for one child process."""

    share: float | None = None

    def __enter__(self) -> "Others":
        self.start, self.before, self.own = time.perf_counter(), busy_seconds(), own_seconds()
        return self

    def __exit__(self, *exception: object) -> None:
        after, elapsed = busy_seconds(), time.perf_counter() - self.start
        if self.before is not None and after is not None:
            own = own_seconds() - self.own
            self.share = max(0.0, (after - self.before - own) / (elapsed * os.cpu_count()))


def own_seconds() -> float:
    """Return CPU seconds of this process and of its finished children."""
    return sum(os.times()[:4])


def matrix_gflops(repeats: int = 5) -> float:
    """Measure the fastest fp32 matrix product of `SHAPES`, in 10⁹ operations a second, on this process's threads."""
    best = 0.0
    for rows, inner, columns in SHAPES:
        a, b, out = torch.rand(rows, inner), torch.rand(inner, columns), torch.empty(rows, columns)
        for _ in range(repeats):
            start = time.perf_counter()
            torch.mm(a, b, out=out)
            best = max(best, 2 * rows * inner * columns / (time.perf_counter() - start) / 1e9)
    return best


@contextmanager
def counted(into: dict[str, float], name: str) -> Iterator[None]:
    """Add a block's matrix products, including attention's, to `into[name]`, in 10⁹ operations."""
    counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    with counter:
        yield
    into[name] = into.get(name, 0.0) + counter.get_total_flops() / 1e9


def peak_gb() -> float:
    """Return the peak resident memory of this process, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on macOS
    return round(peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024), 3)
