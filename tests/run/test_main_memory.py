"""How much main memory is left: the machine's, or what the limit of a container leaves."""

from pathlib import Path

import pytest

from summarize_rlhf.run.main_memory import free_main_memory, resident

GIB = 2**30


def write(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


@pytest.fixture
def root(tmp_path) -> Path:
    """A machine that has 8 GiB left, its processes in no cgroup."""
    meminfo = f"MemTotal: {16 * 2**20} kB\nMemFree: 5 kB\nMemAvailable:   {8 * 2**20} kB"
    return write(tmp_path, {"proc/meminfo": meminfo, "proc/self/cgroup": "0::/"})


def test_the_machines(root) -> None:
    assert free_main_memory(root) == 8 * GIB


def test_a_limit_leaves_what_is_not_used_and_the_files_that_nobody_reads(root) -> None:
    write(root, {
        "proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/memory.max": "max",
        "sys/fs/cgroup/a/memory.max": 6 * GIB, "sys/fs/cgroup/a/memory.current": 5 * GIB,
        "sys/fs/cgroup/a/memory.stat": f"anon {4 * GIB}\ninactive_file {GIB}",
    })  # fmt: skip
    assert free_main_memory(root) == 2 * GIB
    write(root, {"sys/fs/cgroup/a/memory.max": 60 * GIB})
    assert free_main_memory(root) == 8 * GIB


def test_a_limit_of_the_first_version(root) -> None:
    write(root, {
        "proc/self/cgroup": "5:devices:/x\n4:memory:/x\n0::/", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": 3 * GIB,
        "sys/fs/cgroup/memory/x/memory.usage_in_bytes": 2 * GIB,
        "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": 7 * GIB,
    })  # fmt: skip
    assert free_main_memory(root) == GIB
    write(root, {"sys/fs/cgroup/memory/x/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB}"})
    assert free_main_memory(root) == 2 * GIB


def test_a_system_that_does_not_say(tmp_path) -> None:
    assert free_main_memory(tmp_path) is None


def test_here() -> None:
    assert 10**8 < free_main_memory() < 10**14
    assert 10**7 < resident() < 10**11
