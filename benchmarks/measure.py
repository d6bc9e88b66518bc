"""Measuring two ways of doing the same work, each in a process of its own, in turns.

So the machine's moods fall on both, and the peak memory is each one's own.

A benchmark script calls itself: `script.py --side ours …` does the work once and prints one JSON line, which
`alternate` collects.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from summarize_rlhf.hardware import commit, versions


def peak_gb() -> float:
    """Largest resident memory of this process so far, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on macOS
    return peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)


def hand_over(figures: dict[str, Any]) -> None:
    """What a side's process ends with: its figures and its peak memory, as the last line that it prints."""
    print(json.dumps({**figures, "peak_rss_gb": round(peak_gb(), 3)}), flush=True)


def run_side(script: str, side: str, arguments: list[str]) -> dict[str, Any]:
    """Runs `script --side SIDE` in a process of its own and returns its last line's JSON."""
    command = [sys.executable, script, "--side", side, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with exit code {done.returncode}; its error is above")
    return json.loads(done.stdout.strip().splitlines()[-1])


def alternate(script: str, sides: list[str], repeats: int, arguments: list[str]) -> dict[str, list[dict[str, Any]]]:
    """`repeats` runs of each side, taking turns."""
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tqdm(total=repeats * len(sides), desc=Path(script).stem, unit="run") as bar:
        for _ in range(repeats):
            for side in sides:
                bar.set_postfix(side=side)
                results[side].append(run_side(script, side, arguments))
                bar.update()
    return results


def medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Each figure's median over the runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def machine() -> dict[str, Any]:
    """What a figure depends on: hardware, threads, versions, commit."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "commit": commit(),
        "versions": versions(),
    }
