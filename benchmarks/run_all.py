"""Run every benchmark of docs/speed.md but growth and TRL 1.16, one after the other, with the published settings.

    TLDR_DATA_DIR=… python -m benchmarks.run_all [--only sft ppo] [--again]

About 45 minutes on two idle cores. A part whose raw file was measured with this code, on an idle machine, is skipped,
so the same command resumes where it stopped. The tables are written at the end (`python docs/figures.py`).
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import raw
from benchmarks.bench_trl_ppo import make_command
from benchmarks.raw import BUSY, ROOT, Record, same_code

BOTH = ["--threads", "1", "2"]
LIBRARIES = ("trl", "torchtune")  # each in an environment of its own, made where it is missing


class Part(NamedTuple):
    """One raw file: its name, the script that writes it, and the script's arguments."""

    name: str
    script: str
    arguments: list[str]


PARTS = (
    Part("rm_1_epoch", "bench_rm", ["--rows", "24", "--repeats", "3", *BOTH]),
    Part("sft", "bench_sft", ["--rows", "64", "--repeats", "2", *BOTH]),
    Part("ppo", "bench_ppo", ["--rollouts", "32", "--repeats", "2", *BOTH]),
    Part("trl_ppo", "bench_trl_ppo", ["--rollouts", "32", "--repeats", "2", *BOTH]),
    Part("trl_ppo_all", "bench_trl_ppo", ["--rollouts", "16", "--unfrozen", "-1", "--repeats", "2", "--threads", "2"]),
    Part("rm", "bench_rm", ["--rows", "8", "--epochs", "5", "--repeats", "2", *BOTH]),
    Part("trunk_cache", "trunk_cache", []),  # no measurement of time
)


def why_again(name: str) -> str | None:
    """Return why a part must be measured; None where its raw file is up to date."""
    if not raw.exists(name):
        return "no raw file"
    found = raw.load(name)
    commit = found["machine"]["commit"]
    if not same_code(commit):  # "abc+", of changed code, is no commit
        return f"its raw file is of other code ({commit[:10]})"
    busy = Record(found).busy() if "runs" in found else None
    if busy is not None and busy > BUSY:
        return f"the machine was busy ({busy:.0%})"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], help="these parts; default: all")
    parser.add_argument("--again", action="store_true", help="also measure parts that are up to date")
    parser.add_argument("--python", type=Path, nargs=2, metavar=("TRL", "TORCHTUNE"), help="of these environments")
    args = parser.parse_args()
    parts = [part for part in PARTS if not args.only or part.name in args.only]
    if "TLDR_DATA_DIR" not in os.environ:
        print("note: TLDR_DATA_DIR is not set: texts are synthetic, and trunk_cache is left out", flush=True)
        parts = [part for part in parts if part.name != "trunk_cache"]
    for part in parts:
        reason = "asked for" if args.again else why_again(part.name)
        if reason is None:
            print(f"{part.name}: up to date", flush=True)
            continue
        print(f"{part.name}: {reason}", flush=True)
        options = part.arguments
        if part.script == "bench_trl_ppo":
            options = [*options, *environments(args.python)]
        start = time.monotonic()
        script = [sys.executable, "-m", f"benchmarks.{part.script}", *options, "--out", str(raw.path_of(part.name))]
        if subprocess.run(script, cwd=ROOT).returncode:
            sys.exit(f"{part.name} failed; the same command resumes with it")
        print(f"{part.name}: {(time.monotonic() - start) / 60:.1f} minutes\n", flush=True)
    write_figures()


def write_figures() -> None:
    """Run docs/figures.py in a process that sees our modules."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, str(ROOT / "docs/figures.py")], cwd=ROOT, env=os.environ | paths, check=True)


def environments(pythons: list[Path] | None) -> list[str]:
    """Return the options that name TRL's and torchtune's Python; make their environments where none are given."""
    if pythons:
        return ["--trl_python", str(pythons[0]), "--torchtune_python", str(pythons[1])]
    for name in LIBRARIES:
        if not (ROOT / f"benchmarks/.venv-{name}/bin/python").is_file():
            subprocess.run(make_command(name), shell=True, check=True, cwd=ROOT)
    return []


if __name__ == "__main__":
    main()
