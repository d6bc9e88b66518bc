"""Watch the main memory of a process from outside: the most that it has at once, pages of files left out.

    python benchmarks/anonymous_memory.py PID

looks every millisecond until its standard input ends, and prints the most bytes that it saw. The kernel keeps such a
figure of its own (VmHWM), but of all pages: those of the model's file that is mapped, of a written file that is read
again and of libraries count in it, which the system drops when it needs the room.
"""

import os
import select
import sys
import time
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
EVERY = 1e-3  # seconds


def anonymous(pid: int | str = "self") -> int:
    """Return the bytes of main memory that a process has now and that are no file's."""
    _, resident, of_files, *_ = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(of_files)) * PAGE


def watch(pid: int) -> int:
    """Return the most that a process had until the standard input of this one ended."""
    most = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        most = max(most, anonymous(pid))
        time.sleep(EVERY)
    return most


if __name__ == "__main__":
    print(watch(int(sys.argv[1])))
