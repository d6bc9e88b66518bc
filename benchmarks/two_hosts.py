"""Measure two hosts made of one: losses, throughput, memory of each process and bytes sent, under DDP and ZeRO-1, 2, 3.

    python benchmarks/two_hosts.py [--only sft/2x1/3 …] [--out docs/results/scale/two_hosts.json]

The hosts are network namespaces with a cable between them (tests/hosts.py; needs root and iproute2). SFT and the reward
model run by DeepSpeed's launcher, PPO by Accelerate's, on a GPT-J of 7 million weights in fp32, the same global batch
on 1 × 1, 2 × 1 and 2 × 2 processes: `STEPS` optimizer steps of one micro-batch, with rows of full length. PPO makes its
steps on three collections of rollouts, which have figures of their own. DDP is ZeRO-0, one all-reduce of all gradients.
Bytes are what the kernel counts, the packets' headers too: the cable's are those of the one host, the loopback's those
between its own processes. The first step and the first collection are a warm-up. With `--only` the results of earlier
runs in the file stay.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from hosts import Host, Started, two_hosts, why_not  # noqa: E402
from zero_files import zero_file  # noqa: E402

from benchmarks import measure, plan_peaks, traffic  # noqa: E402
from benchmarks.machine import Others  # noqa: E402

BIN = Path(sys.executable).parent
SHAPE = {"layers": 8, "width": 256, "heads": 8}  # 7 M weights
STEPS, BATCH = 12, {"sft": 8, "rm": 8, "ppo": 8}  # optimizer steps; rows, pairs or rollouts in each
ROWS = 48  # of the training data
TOKENS, TEXTS = plan_peaks.TOKENS, {"sft": 1, "rm": 2, "ppo": 1}  # tokens of a text, texts of a row
LAYOUTS = ((1, 1), (2, 1), (2, 2))  # hosts, processes of each
STAGES_OF_ZERO = (0, 1, 2, 3)
PORT = 29500  # nobody else's: each host has ports of its own
PATIENCE = 900  # seconds for a run
FREED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}  # goes back
# Weights of a small model would otherwise stay gathered on all processes from the first step on.
ZERO_3 = {"stage3_param_persistence_threshold": 0, "stage3_max_live_parameters": 0, "stage3_max_reuse_distance": 0}
COMMON = {
    "max_length": TOKENS, "max_steps": STEPS, "eval_steps": STEPS, "logging_steps": 1, "learning_rate": 1e-3,
    "warmup_steps": 2, "report_to": "none", "seed": 1,
}  # fmt: skip
OWN = {
    "sft": {"dataset": "tldr", "rouge_rows": 0, "keep": "last", "gradient_checkpointing": True},
    "rm": {"dataset": "pairs", "card_pairs": 0, "trunk_cache_gb": 0, "gradient_checkpointing": False},
}
COLLECTIONS, ROLLOUTS = 3, BATCH["ppo"]  # an update takes all of a collection, so that it is alike on any processes
PPO_EPOCHS = STEPS // COLLECTIONS
PPO = plan_peaks.PPO | {
    "method.num_rollouts": ROLLOUTS, "method.ppo_epochs": PPO_EPOCHS, "train.epochs": COLLECTIONS,
    "train.seq_length": TOKENS, "train.eval_interval": 10**6, "train.checkpoint_interval": 10**6, "train.seed": 1,
    "train.tracker": None,
}  # fmt: skip


class Case(NamedTuple):
    """A run: `processes` on each of `hosts`, under a ZeRO stage (0: DDP)."""

    stage: str
    hosts: int
    processes: int
    zero: int

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.hosts}x{self.processes}/{self.zero}"


def cases() -> list[Case]:
    """Return all runs, of each stage first the one on a single process: under DDP, since it has nothing to share."""
    several = [(layout, zero) for layout, zero in itertools.product(LAYOUTS, STAGES_OF_ZERO) if layout != (1, 1)]
    return [Case(stage, *layout, zero) for stage in BATCH for layout, zero in (((1, 1), 0), *several)]


def arguments(case: Case, folder: Path) -> list[str]:
    """Return the stage's arguments."""
    rows = BATCH[case.stage] // (case.hosts * case.processes)
    if case.stage == "ppo":
        where = {"model.model_path": folder / "model", "task.reward_model": folder / "rm"}
        where |= {"task.dataset": folder / "tldr", "train.checkpoint_dir": out_of(case, folder)}
        return [json.dumps(PPO | {name: str(path) for name, path in where.items()} | {"train.batch_size": rows})]
    values = COMMON | OWN[case.stage] | {"dataset": folder / OWN[case.stage]["dataset"], "model": folder / "model"}
    values |= {"output_dir": out_of(case, folder), "deepspeed_config": zero_config(case, folder)}
    values |= {"global_batch_size": BATCH[case.stage], "per_device_train_batch_size": rows}
    return [word for name, x in values.items() for word in (f"--{name}", str(x))]


def zero_config(case: Case, folder: Path) -> Path:
    """Write the run's DeepSpeed file into `folder`."""
    section = {"stage": case.zero} | (ZERO_3 if case.zero == 3 else {})
    return zero_file(folder / f"zero{case.zero}.json", section)


def out_of(case: Case, folder: Path) -> Path:
    return folder / case.name.replace("/", "_")


def launch(case: Case, folder: Path, hosts: list[Host], host: Host) -> list[object]:
    """Return the words before the script that start the run's part on one of `hosts`, as docs/scale.md has it."""
    if case.stage == "ppo":
        machines = ["--num_machines", case.hosts, "--machine_rank", host.rank]
        meet = ["--main_process_ip", hosts[0].address, "--main_process_port", PORT]
        config = ["--config_file", ROOT / "configs/accelerate/4nodes.yaml"]
        config += ["--deepspeed_config_file", zero_config(case, folder)]
        return [BIN / "accelerate", "launch", *config, *machines, "--num_processes", case.hosts * case.processes, *meet]
    hostfile = folder / "hostfile"
    hostfile.write_text("".join(f"{each.address} slots={case.processes}\n" for each in hosts), encoding="utf-8")
    where = ["--hostfile", hostfile, "--no_ssh", "--node_rank", host.rank]
    if case.hosts == 1:
        where = ["--num_gpus", case.processes]
    return [BIN / "deepspeed", *where, "--master_addr", hosts[0].address, "--master_port", PORT]


def start(case: Case, folder: Path, hosts: list[Host]) -> list[Started]:
    """Start the launcher on each host of the run."""
    figures = folder / f"figures_{case.name.replace('/', '_')}"
    figures.mkdir()
    os.environ |= FREED | {"STAGE": case.stage, "FIGURES": str(figures)}
    script, given = ROOT / "benchmarks/two_hosts_rank.py", arguments(case, folder)
    return [host.start([*launch(case, folder, hosts, host), script, *given], folder) for host in hosts]


def measured(case: Case, folder: Path) -> dict[str, Any]:
    """Run a case on hosts of its own, and return what it took."""
    with two_hosts() as hosts, Others() as others:
        started = start(case, folder, hosts[: case.hosts])
        for each in started:
            if each.wait(PATIENCE) != 0:
                sys.exit(f"{each.output()[-4000:]}\n{case.name} was not measured")
    metrics = (out_of(case, folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    name = "losses/total_loss" if case.stage == "ppo" else "loss"
    losses = [line[name] for line in map(json.loads, metrics) if name in line]
    files = [
        folder / f"figures_{case.name.replace('/', '_')}/{rank}.json" for rank in range(case.hosts * case.processes)
    ]
    ranks = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {**case._asdict(), "losses": losses, **figures_of(case, ranks), "others": others.share}


def figures_of(case: Case, ranks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return figures per step, and per collection of PPO, from what each process (in the order of ranks) wrote."""
    found = {
        "weights": ranks[0]["weights"], "trained": ranks[0]["trained"],
        **figures_per(case, ranks, "update", BATCH[case.stage]),
        "peak": [rank["most"] for rank in ranks], "peak_at_start": [rank["most_at_start"] for rank in ranks],
    }  # fmt: skip
    if case.stage == "ppo":
        found["collection"] = figures_per(case, ranks, "collection", ROLLOUTS)
    return found


def figures_per(case: Case, ranks: list[dict[str, Any]], phase: str, rows: int) -> dict[str, Any]:
    """Return means over all but the first of a phase, each from its end and the end of what came before it."""

    def mean(rank: dict[str, Any], name: str) -> float:
        taken = [x[name] - before[name] for before, x in itertools.pairwise(rank["steps"]) if x["phase"] == phase]
        if rank["steps"][0]["phase"] != phase:
            taken = taken[1:]  # the first one of all is no pair's second
        return sum(taken) / len(taken)

    seconds, hosts = mean(ranks[0], "seconds"), ranks[:: case.processes]
    return {
        "seconds_per_step": seconds, "tokens_per_s": rows * TOKENS * TEXTS[case.stage] / seconds,
        **{device: [mean(first_of_host, device) for first_of_host in hosts] for device in ("cable", "loopback")},
        "collectives": {kind: mean(ranks[0], kind) for kind in traffic.UNITS},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="STAGE/LAYOUT/ZERO", help="measure these alone")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/scale/two_hosts.json")
    args = parser.parse_args()
    reason = why_not()
    if reason is not None:
        sys.exit(f"two hosts cannot be made: {reason}")
    known = json.loads(args.out.read_text(encoding="utf-8"))["runs"] if args.only and args.out.is_file() else []
    found = {Case(*(run[name] for name in Case._fields)).name: run for run in known}
    machine = measure.machine() | {"busy": measure.check_idle()}
    settings = {
        "shape": SHAPE,
        "steps": STEPS,
        "batch": BATCH,
        "tokens": TOKENS,
        "zero_3": ZERO_3,
        "seed": COMMON["seed"],
    }
    record = {"command": "python benchmarks/two_hosts.py", "settings": settings, "machine": machine}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan_peaks.make(folder, "gptj", ROWS, SHAPE)
        for case in cases():
            if args.only and case.name not in args.only:
                continue
            found[case.name] = measured(case, folder) | {"commit": machine["commit"]}
            print(json.dumps(found[case.name]), flush=True)
            text = json.dumps(record | {"runs": list(found.values())}, indent=2)
            args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
