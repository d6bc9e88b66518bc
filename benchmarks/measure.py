"""Compare ways of doing the same work, in turns, each run in its own process.

So drifts of the machine affect all of them alike, and peak memory is each one's own. A benchmark script calls itself:
with `--side ours` it does the work once and prints one JSON line, which `compare` collects.
"""

import argparse
import json
import os
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

from benchmarks.machine import Others, busy_share, matrix_gflops, peak_gb
from benchmarks.raw import BUSY, OURS, PUBLISHED, Record, same_code, spread
from summarize_rlhf import versions
from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.report import format_table

Figures = dict[str, float]
Run = dict[str, Any]
COUNT = "count"  # the side that counts our matrix products, without a clock


def parser(doc: str) -> argparse.ArgumentParser:
    """Build a parser with the arguments of every benchmark."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="a small model and little work: ends within a minute")
    made.add_argument("--repeats", type=int, help="runs of each side; default 3, quick 1")
    made.add_argument("--threads", type=int, nargs="+", help="of each run, one or several numbers; default: torch's")
    made.add_argument("--family", default="gptj", choices=["gptj", "gpt2", "gpt_neox", "llama"])
    made.add_argument("--out", type=Path, help="also write the figures of every run to this JSON file")
    made.add_argument("--side", help=argparse.SUPPRESS)
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return made


def compare(
    bench: str,
    args: argparse.Namespace,
    prepare: Callable[[Path], dict[str, Any]],
    work: Callable[[Path, str], Figures],
    rate: str,
    sides: tuple[str, ...] = (OURS, PUBLISHED),
    count: Callable[[Path], Figures] | None = None,
    commands: dict[str, list[str]] | None = None,
    ratios: tuple[str, ...] = (),
) -> None:
    """Run all sides in turns at each number of threads; print tables and, last, one JSON line.

    `prepare(folder)` writes the common inputs and returns the settings to report; `work(folder, side)` does a side's
    work once. `rate` names the figure whose quotient is the ratio of a repeat, ours over another side's, and `ratios`
    further ones. `count(folder)` returns our matrix products in 10⁹ operations, by the figure that they stand behind
    (`Record.gflops`). `commands` start a side by another program than this script; the folder is appended.
    """
    if args.side:
        child(args, work, count)
        return
    threads, repeats = args.threads or [torch.get_num_threads()], args.repeats or (1 if args.quick else 3)
    busy = check_idle()
    with tempfile.TemporaryDirectory() as folder:
        settings = prepare(Path(folder))
        arguments = [*sys.argv[1:], "--folder", folder]
        start = {side: this_script(side, arguments) for side in (*sides, COUNT)}
        start |= {side: [*command, folder] for side, command in (commands or {}).items()}
        gflop = run(start[COUNT], max(threads)) if count else {}
        runs = alternate({side: start[side] for side in sides}, threads, repeats)
    raw = {"bench": bench, "rate": rate, "family": args.family, "repeats": repeats, "settings": settings}
    raw |= {"machine": machine() | {"threads": threads, "busy": busy}, "gflop": gflop, "runs": runs}
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    show(Record(raw), (rate, *ratios))
    print(json.dumps({"bench": bench, "settings": settings, "ratio_median": medians_of(Record(raw), rate)}), flush=True)


def child(args: argparse.Namespace, work: Callable, count: Callable | None) -> None:
    """Do one side's work in this process and print its figures as a line of JSON."""
    torch.manual_seed(0)
    if args.side == COUNT:
        print(json.dumps(count(args.folder)), flush=True)
        return
    if args.side == OURS:
        tune_process()  # as the main of each stage does
    figures = {**work(args.folder, args.side), "peak_rss_gb": peak_gb(), "threads": torch.get_num_threads()}
    if args.side == OURS:
        figures["matrix_gflops"] = matrix_gflops()
    print(json.dumps(figures), flush=True)


def check_idle() -> float | None:
    """Return the share of the machine that others use now, and warn where it makes figures doubtful."""
    busy = busy_share()
    if busy is not None and busy > BUSY:
        load = os.getloadavg()[0]
        print(f"note: {busy:.0%} of this machine is in use (load {load:.2f}): the figures will say so", file=sys.stderr)
    return busy


def this_script(side: str, arguments: list[str]) -> list[str]:
    return [sys.executable, sys.argv[0], "--side", side, *arguments]


def alternate(commands: dict[str, list[str]], threads: list[int], repeats: int) -> list[Run]:
    """Run each side's command `repeats` times at each number of threads, in turns."""
    runs = []
    with tqdm(total=repeats * len(threads) * len(commands), desc=Path(sys.argv[0]).stem, unit="run") as bar:
        for _ in range(repeats):
            for number in threads:
                for side, command in commands.items():
                    bar.set_postfix(side=side, threads=number)
                    with Others() as others:
                        figures = run(command, number)
                    runs.append({"side": side, **figures, "others": others.share})
                    bar.update()
    return runs


def run(command: list[str], threads: int | None = None) -> Run:
    """Run a command on `threads` threads and parse the JSON of its last line; show its output if it fails."""
    number = {} if threads is None else dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | number)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}\n{' '.join(command)} ended with exit code {done.returncode}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if threads is not None and found.get("threads", threads) != threads:
        sys.exit(f"{' '.join(command)} ran on {found['threads']} threads instead of {threads}")
    return found


def show(record: Record, ratios: tuple[str, ...]) -> None:
    """Print medians of all figures, and how many times faster we were."""
    settings = ", ".join(f"{key} {value}" for key, value in record.raw["settings"].items())
    sides = record.sides()
    for threads in record.threads():
        print(f"\n{record.raw['bench']}: {record.raw['family']}, {settings}; threads {threads}, medians of "
              f"{record.raw['repeats']}")  # fmt: skip
        names = dict.fromkeys(name for run in record.runs for name in run if name not in ("side", "threads"))
        cells = {side: {n: _median(record, side, threads, n) for n in names} for side in sides}
        print(format_table([{"": name} | {side: cells[side][name] for side in sides} for name in names]))
        for other in sides:
            for figure in ratios if other != OURS else ():
                print(f"{figure}: {spread(record.times_faster(other, threads, figure))} times faster than {other}")
        for figure in record.raw["gflop"]:
            print(f"{figure}: {spread(record.shares(threads, figure))} of the matrix rate")


def medians_of(record: Record, figure: str) -> dict[str, dict[int, float]]:
    """Return how many times faster we were (median), by side and number of threads."""
    return {
        other: {n: round(statistics.median(record.times_faster(other, n, figure)), 3) for n in record.threads()}
        for other in record.sides()
        if other != OURS
    }


class Clock(TrainerCallback):
    """Time a training from the end of its first optimizer step, a warm-up, to the end of its last."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, *args, **kwargs) -> None:
        self.ends.append(time.perf_counter())

    def rate(self, name: str, amount: float, warm_up: float, before: float = 0.0) -> Figures:
        """Return `amount` (of which `warm_up` in the first step) per second, and seconds per step.

        `before` counts seconds of work that was done before the first step, for all of them.
        """
        seconds = self.ends[-1] - self.ends[0]
        rate = (amount - warm_up) / (seconds + before)
        return {f"{name}_per_s": rate, "seconds_per_step": seconds / (len(self.ends) - 1)}


def machine() -> dict[str, Any]:
    """Record hardware, threads, versions and commit (`+` where code has changed since)."""
    head = (versions.commit() or "").removesuffix("+")
    return {
        "hardware": versions.machine(),
        "threads": torch.get_num_threads(),
        "commit": head + ("" if same_code("HEAD") else "+"),
        "versions": versions.versions(),
    }


def _median(record: Record, side: str, threads: int, figure: str) -> str:
    if not record.has(side, threads, figure):
        return ""
    return f"{record.median(side, threads, figure):.4g}"
