"""Starts a stage the way a user does: a new process, the real launcher, in the documented folder."""

import os
import socket
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
# What belongs to another launch, and must not leak into this one.
OF_A_LAUNCH = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_DEEPSPEED"}


def flags(values: dict[str, object]) -> list[str]:
    """{"seed": 1} as ["--seed", "1"]."""
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def deepspeed(script: str | Path, arguments: list, cwd: Path, processes: int = 1) -> subprocess.CompletedProcess:
    """`deepspeed SCRIPT …` as a user types it, but for a port of its own; several processes where asked for."""
    return run([BIN / "deepspeed", "--master_port", free_port(), "--num_gpus", processes, script, *arguments], cwd)


def python(script: str | Path, arguments: list, cwd: Path) -> subprocess.CompletedProcess:
    """`python SCRIPT …`: without a launcher."""
    return run([sys.executable, script, *arguments], cwd)


def run(command: list, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    env = {name: value for name, value in os.environ.items() if name not in OF_A_LAUNCH} | environment
    return subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
