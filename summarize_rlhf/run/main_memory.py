"""How much main memory there is for a process."""

import os
from collections.abc import Iterator
from pathlib import Path

NO_LIMIT = 2**60  # bytes; version 1 of cgroups writes no limit as a number near 2**63


def free_main_memory(root: Path = Path("/")) -> int | None:
    """Return how many bytes processes here may still take: what the machine has, or what a container's limit leaves.

    Memory that only holds files counts as free. None where the system (`root`) does not say, as macOS does not.
    """
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return min([int(kib) * 1024, *limits_left(root)])
    except (OSError, StopIteration, ValueError):
        return None


def limits_left(root: Path) -> Iterator[int]:
    """Yield what each memory limit of a cgroup around this process (Docker, SLURM, systemd) leaves, in bytes."""
    for line in (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        old = controllers == "memory"
        top = root / ("sys/fs/cgroup/memory" if old else "sys/fs/cgroup")
        limit, used = ("limit_in_bytes", "usage_in_bytes") if old else ("max", "current")
        folder = top / path.lstrip("/")
        for place in [folder, *folder.parents]:
            if (place / f"memory.{limit}").is_file():
                most = (place / f"memory.{limit}").read_text(encoding="ascii").strip()
                if most != "max" and int(most) < NO_LIMIT:
                    taken = int((place / f"memory.{used}").read_text(encoding="ascii"))
                    yield int(most) - taken + files_held(place / "memory.stat")
            if place == top:
                break


def files_held(stat: Path) -> int:
    """Return the bytes of a cgroup's memory that hold files which are not in use, and are given up when asked for."""
    if not stat.is_file():
        return 0
    values = dict(line.split() for line in stat.read_text(encoding="ascii").splitlines())
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))


def resident() -> int:
    """Return how many bytes of main memory this process takes; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
