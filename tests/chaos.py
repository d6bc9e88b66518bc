"""Kills runs at random instants and compares what they become with an uninterrupted run, bit for bit.

    python tests/chaos.py [--kills 36] [--seed 0] [--out FILE]

Each of the three stages, on one process and on two, is started by its launcher, killed with SIGKILL (launcher and all
processes, as when a machine dies) and started again by the same command, until it has been killed often enough; then it
may finish. Half of the kills come at a random instant, half while a checkpoint is being written. Weights and metrics
must be those of the run that nobody disturbed. test_chaos.py runs a short form.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from chaos_runs import ROOT, STAGES, Case, command, make_inputs
from launch import OF_A_LAUNCH
from logged import lines
from safetensors.torch import load_file
from tqdm.auto import tqdm


def start(case: Case) -> subprocess.Popen:
    """The documented launch in a process group of its own."""
    env = {name: value for name, value in os.environ.items() if name not in OF_A_LAUNCH}
    env |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command(case), cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
        process.log = os.fdopen(os.dup(log.fileno()), "r+b")  # to read when it ends
    return process


def output_of(process: subprocess.Popen) -> str:
    process.log.seek(0)
    return process.log.read().decode(errors="replace")


def kill(process: subprocess.Popen) -> None:
    """Launcher and all it has started, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def finish(process: subprocess.Popen, seconds: float = 300) -> None:
    process.wait(seconds)
    if process.returncode != 0:
        raise SystemExit(
            f"a run that nobody killed ended with code {process.returncode}:\n{output_of(process)[-4000:]}"
        )


def wait_for(process: subprocess.Popen, happened: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether it happened before the process ended."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if happened():
            return True
        time.sleep(0.002)
    return False


def kill_somewhere(process: subprocess.Popen, case: Case, rng: random.Random, while_saving: bool) -> str | None:
    """Kills at a random instant, or in a random part of writing a checkpoint. None if the run ended before."""
    before = being_written(case)

    def saving() -> bool:
        return bool(being_written(case) - before)

    if while_saving:
        for _ in range(rng.randrange(3)):  # so many saves pass
            if not (wait_for(process, saving) and wait_for(process, lambda: not saving())):
                return None
        if not wait_for(process, saving):
            return None
        time.sleep(rng.uniform(0, 0.05))
    else:
        newest = newest_of(case)
        if not wait_for(process, lambda: newest_of(case) > newest or rng.random() < 1e-4):
            return None
        time.sleep(rng.uniform(0, 1.5))
    if process.poll() is not None:
        return None
    where = "while saving" if saving() else "between saves"
    kill(process)
    return f"{where}, after checkpoint {newest_of(case)}"


def being_written(case: Case) -> set[Path]:
    return set(case.checkpoints.glob(".checkpoint*"))


def newest_of(case: Case) -> int:
    steps = [int(path.name[11:]) for path in case.checkpoints.glob("checkpoint[-_]*")]
    return max(steps, default=-1)


def result_of(case: Case) -> dict[str, Any]:
    """Weights, and what was logged but for the machine's figures."""
    if case.checkpoints.name == "ppo":  # the last checkpoint under one name, whatever its step
        last = case.checkpoints / "last"
        last.unlink(missing_ok=True)
        last.symlink_to(case.checkpoints / f"checkpoint_{newest_of(case)}")
    return {"weights": [load_file(path) for path in case.weights], "logs": {x.name: lines(x) for x in case.logs}}


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What is not equal, to the bit."""
    told = []
    for number, (one, other) in enumerate(zip(found["weights"], expected["weights"], strict=True)):
        if one.keys() != other.keys():
            told.append(f"weights {number}: other names")
        told += [
            f"weights {number}: {name}" for name in other if name in one and not torch.equal(one[name], other[name])
        ]
    for name, rows in expected["logs"].items():
        if found["logs"][name] != rows:
            pairs = zip(found["logs"][name], rows, strict=False)
            first = next((pair for pair in pairs if pair[0] != pair[1]), (len(found["logs"][name]), len(rows)))
            told.append(f"{name}: {first}")
    return told


def undisturbed(case: Case, start: Callable[[Case], subprocess.Popen] = start) -> dict[str, Any]:
    finish(start(case))
    return result_of(case)


def disturbed(
    stage: str, inputs: Path, out: Path, processes: int, kills: int, rng: random.Random, told: list[str]
) -> dict[str, Any]:
    """The same run, killed `kills` times; `told` gets a line each. Starts anew where it ends before its last kill."""
    case = STAGES[stage](inputs, out, processes)
    done = 0
    while done < kills:
        process = start(case)
        where = kill_somewhere(process, case, rng, while_saving=done % 2 == 1)
        if where is None:  # ended before it could be killed: that must be a success, and the next run starts over
            finish(process)
            shutil.rmtree(out)
            continue
        told.append(where)
        done += 1
    finish(start(case))
    return result_of(case)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=36, help="in all, over three stages on one and two processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--out", type=Path, help="write what happened to this JSON file")
    args = parser.parse_args()
    rng, record, failures = random.Random(args.seed), [], 0
    cases = [(stage, processes) for stage in args.stages for processes in (1, 2)]
    with tempfile.TemporaryDirectory() as folder:
        inputs = make_inputs(Path(folder) / "inputs")
        for stage, processes in tqdm(cases, desc="chaos", unit="run"):
            place = Path(folder) / f"{stage}_{processes}"
            expected = undisturbed(STAGES[stage](inputs, place / "undisturbed", processes))
            told: list[str] = []
            found = disturbed(stage, inputs, place / "cut", processes, args.kills // len(cases), rng, told)
            wrong = differences(found, expected)
            failures += bool(wrong)
            record.append({"stage": stage, "processes": processes, "kills": told, "differences": wrong})
            tqdm.write(f"{stage} on {processes}: {len(told)} kills, {wrong or 'EQUAL'}")
    if args.out:
        from benchmarks.measure import machine

        content = {"command": " ".join(sys.argv), "machine": machine(), "runs": record}
        args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{sum(len(run['kills']) for run in record)} kills, {failures} of {len(record)} runs differ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
