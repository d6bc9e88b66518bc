"""Measuring ways of doing the same work, each in a process of its own, in turns.

So the machine's moods fall on all of them alike, and the peak memory is each one's own. A benchmark script calls
itself: with `--side ours` it does the work once and prints one JSON line, which `compare` collects.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback

from summarize_rlhf import hardware
from summarize_rlhf.report import format_table

Figures = dict[str, float]
OURS, PUBLISHED = "ours", "published"


def parser(doc: str) -> argparse.ArgumentParser:
    """The arguments that every benchmark has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="a small model and little work: ends within a minute")
    made.add_argument("--repeats", type=int, help="runs of each side; default 3, quick 1")
    made.add_argument("--family", default="gptj", choices=["gptj", "gpt2", "gpt_neox", "llama"])
    made.add_argument("--out", type=Path, help="also write every run's figures to this JSON file")
    made.add_argument("--side", help=argparse.SUPPRESS)
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return made


def compare(
    bench: str,
    args: argparse.Namespace,
    prepare: Callable[[Path], dict[str, Any]],
    work: Callable[[Path, str], Figures],
    rate: str,
    sides: tuple[str, str] = (OURS, PUBLISHED),
    **ratios: Callable[[Figures, Figures], float],
) -> None:
    """Runs both sides in turns; prints a table and, last, one JSON line.

    `prepare(folder)` makes what both work on and returns the settings to report; `work(folder, side)` does a side's
    work once. `rate` names the figure (more is better) whose quotient, ours over the other's, is the ratio of a
    repeat; `ratios` are further ones. A ratio's median over the repeats is reported, and its range.
    """
    if args.side:
        torch.manual_seed(0)
        figures = work(args.folder, args.side)
        print(json.dumps({**figures, "peak_rss_gb": peak_gb()}), flush=True)
        return
    repeats = args.repeats or (1 if args.quick else 3)
    with tempfile.TemporaryDirectory() as folder:
        settings = prepare(Path(folder))
        runs = alternate(sides, repeats, [*sys.argv[1:], "--folder", folder])
    ours, other = (medians(runs[side]) for side in sides)
    together = list(zip(*(runs[side] for side in sides), strict=True))
    ratios = {"ratio": lambda a, b: a[rate] / b[rate], **ratios}
    found = {name: [ratio(a, b) for a, b in together] for name, ratio in ratios.items()}
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    print(f"\n{bench}: {args.family}, {shown}; medians of {repeats}")
    names = dict.fromkeys([*ours, *other])
    table = [{"": name, sides[0]: _number(ours.get(name)), sides[1]: _number(other.get(name))} for name in names]
    print(format_table(table))
    for name, values in found.items():
        print(f"{name} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    record = {"bench": bench} | {f"{name}_median": round(statistics.median(x), 3) for name, x in found.items()}
    record |= {sides[0]: ours, sides[1]: other}
    record |= {"peak_rss_gb": {side: medians(runs[side])["peak_rss_gb"] for side in sides}}
    record |= {"family": args.family, "repeats": repeats, "settings": settings}
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        whole = {**record, "ratios": found, "runs": runs, "machine": machine()}
        args.out.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record), flush=True)


def alternate(sides: tuple[str, ...], repeats: int, arguments: list[str]) -> dict[str, list[Figures]]:
    """`repeats` runs of each side, taking turns."""
    results: dict[str, list[Figures]] = {side: [] for side in sides}
    with tqdm(total=repeats * len(sides), desc=Path(sys.argv[0]).stem, unit="run") as bar:
        for _ in range(repeats):
            for side in sides:
                bar.set_postfix(side=side)
                results[side].append(run_side(side, arguments))
                bar.update()
    return results


def run_side(side: str, arguments: list[str]) -> Figures:
    """This script with `--side SIDE` in a process of its own; its last line's JSON. Its output shows if it fails."""
    command = [sys.executable, sys.argv[0], "--side", side, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}\n{' '.join(command)} ended with exit code {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Clock(TrainerCallback):
    """Seconds from the end of a training's first optimizer step, a warm-up, to the end of its last."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, *args, **kwargs) -> None:
        self.ends.append(time.perf_counter())

    def rate(self, name: str, amount: float, warm_up: float, before: float = 0.0) -> Figures:
        """`amount`, of which `warm_up` in the first step, per second; and seconds per step.

        `before` counts seconds of work that was done before the first step, for all of them.
        """
        seconds = self.ends[-1] - self.ends[0]
        rate = (amount - warm_up) / (seconds + before)
        return {f"{name}_per_s": rate, "seconds_per_step": seconds / (len(self.ends) - 1)}


def peak_gb() -> float:
    """Largest resident memory of this process so far, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on macOS
    return round(peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024), 3)


def medians(runs: list[Figures]) -> Figures:
    """Each figure's median over the runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def machine() -> dict[str, Any]:
    """What a figure depends on: hardware, threads, versions, commit."""
    return {
        "hardware": hardware.machine(),
        "threads": torch.get_num_threads(),
        "commit": hardware.commit(),
        "versions": hardware.versions(),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
