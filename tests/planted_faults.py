"""Does the doctor name what is wrong? Plants one fault at a time, trains the stage, and asks.

    python tests/planted_faults.py results/quickstart/seed_{1,2,3} --out /tmp/faults --write
    python tests/planted_faults.py … --only rm      # those of one stage, or of a name's part
    python tests/planted_faults.py … --diagnose     # train nothing: ask again about what is there

The healthy runs are those of ./quickstart.sh; they must raise no alarm. A fault's stage is trained at a reduced size,
on the quickstart's data and on the healthy stages of the first run. One process loads the libraries and forks for each
training; what is finished in `--out` is not trained again. `--write` writes docs/results/doctor/planted.json.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import KL, PPO_RATE, RM_RATE, SFT_RATE, Fault, faults, write_changed  # noqa: E402
from forked import forked  # noqa: E402

from summarize_rlhf.doctor.evidence import Run, load, read_lines  # noqa: E402
from summarize_rlhf.doctor.finding import HEALTHY  # noqa: E402
from summarize_rlhf.doctor.verdict import blamed, examine  # noqa: E402

MODEL, DATA = ROOT / "quickstart/model", ROOT / "quickstart/data"
TLDR, PAIRS = DATA / "openai_summarize_tldr", DATA / "openai_summarize_comparisons"
RESULTS = ROOT / "docs/results/doctor/planted.json"
# The quickstart's options, with fewer and smaller steps.
SFT = {
    "model": MODEL, "dataset": TLDR, "report_to": "none", "max_length": 256, "loss_on": "summary",
    "gradient_checkpointing": False, "max_train_rows": 570, "max_eval_rows": 40, "global_batch_size": 16,
    "per_device_train_batch_size": 16, "max_steps": 36, "learning_rate": SFT_RATE, "lr_scheduler_type": "linear",
    "warmup_steps": 6, "max_grad_norm": 1.0, "keep": "last", "eval_steps": 9, "logging_steps": 3, "rouge_rows": 24,
}  # fmt: skip
RM = {
    "dataset": PAIRS, "report_to": "none", "max_length": 256, "trainable_fraction": 1, "max_train_rows": 760,
    "max_eval_rows": 100, "global_batch_size": 8, "per_device_train_batch_size": 8, "max_steps": 96,
    "learning_rate": RM_RATE, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_grad_norm": 1.0,
    "per_device_eval_batch_size": 32, "eval_steps": 24, "logging_steps": 8,
}  # fmt: skip
PPO = {
    "task.dataset": TLDR, "task.max_train_prompts": 96, "task.max_eval_prompts": 16, "train.tracker": None,
    "train.seq_length": 256, "train.epochs": 4, "train.batch_size": 8, "train.minibatch_size": 8,
    "train.eval_interval": 24, "train.max_grad_norm": 1.0, "train.save_optimizer": False,
    "model.num_layers_unfrozen": 2, "method.num_rollouts": 24, "method.chunk_size": 24, "method.init_kl_coef": KL,
    "optimizer.kwargs.lr": PPO_RATE, "scheduler.kwargs.eta_min": PPO_RATE,
}  # fmt: skip
STAGES = ("sft", "rm", "ppo")
PROBED: dict[Path, Any] = {}  # a stage's evidence, by its directory
Runs = dict[str, Path]  # the stages' directories


def train(fault: Fault, out: Path, runs: Runs) -> None:
    """Train the fault's stage into `out`, on the healthy stages in `runs`; called in a child process."""
    import datasets

    with contextlib.ExitStack() as stack:
        if fault.patch is not contextlib.nullcontext:  # what another code has tokenized is not for this one
            datasets.config.HF_DATASETS_CACHE = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(fault.patch())
        if fault.stage == "ppo":
            from trlx_gptj_text_summarization import main

            given = {"model.model_path": runs["sft"], "task.reward_model": runs["rm"], "train.checkpoint_dir": out}
            argv = [json.dumps(PPO | given | dict(fault.options), default=str)]
        else:
            if fault.stage == "sft":
                from sft.train_gptj_summarize import main

                given = SFT
            else:
                from reward_model.train_reward_model_gptj import main

                given = RM | {"model": runs["sft"]}
            given = given | {"output_dir": out, "seed": 1} | dict(fault.options)
            if fault.data is not None:
                given["dataset"] = write_changed(given["dataset"], out.parent / "data", fault.data)
            argv = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        sys.argv = ["stage", *argv]
        main()


def home_of(fault: Fault, out: Path) -> Path:
    """Return the directory of the fault's stage."""
    name = f"{fault.stage} {fault.name}".replace("×", "times").replace("÷", "by")
    return out / "".join(x if x.isalnum() else "_" for x in name) / fault.stage


def is_finished(directory: Path) -> bool:
    return (directory.parent / "done").exists()


def plant(fault: Fault, out: Path, healthy: list[Runs]) -> None:
    """Train the fault's stage, unless that was done before."""
    directory, start = home_of(fault, out), time.time()
    if is_finished(directory):
        return
    forked(train, fault, directory, healthy[fault.start])
    (directory.parent / "done").touch()
    print(f"    trained {directory} in {time.time() - start:.0f} s", flush=True)


def complaints(runs: list[Path], logs: bool) -> list[dict[str, Any]]:
    """Return what the doctor has to say of the stages in `runs`, healthy ones left out; each is probed once.

    With `logs`, from the logs alone.
    """
    run = load(runs)
    for name in ("sft", "rm") if not logs else ():
        from summarize_rlhf.doctor.probes import probe

        evidence = getattr(run, name)
        if evidence is None:
            continue
        if evidence.directory not in PROBED:
            told = probe(Run(**{name: evidence}))
            assert told == [], told
            PROBED[evidence.directory] = evidence
        setattr(run, name, PROBED[evidence.directory])
    return [row for row in examine(run) if row["status"] != HEALTHY]


def ask(fault: Fault, out: Path, healthy: Runs, logs: bool) -> dict[str, Any]:
    """Ask the doctor about the stages up to the fault's. It is named if that is what it would mend first."""
    directory = home_of(fault, out)
    runs = healthy | {fault.stage: directory}
    found = complaints([runs[stage] for stage in STAGES[: STAGES.index(fault.stage) + 1]], logs)
    first = blamed(found)
    right = first is not None and (first["stage"], first["cause"]) == (fault.stage, fault.cause)
    planted = {"stage": fault.stage, "fault": fault.name, "cause": fault.cause}
    steps = read_lines(directory / "metrics.jsonl")[-1]["step"]
    return planted | {"steps": steps, "right": right, "blamed": first, "found": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path, nargs="+", metavar="RUN", help="folders of ./quickstart.sh")
    parser.add_argument("--out", type=Path, required=True, help="where the runs go; what is finished there is kept")
    parser.add_argument("--only", default="", help="faults of this stage, or whose name holds this")
    parser.add_argument("--diagnose", action="store_true", help="train nothing")
    parser.add_argument("--logs", action="store_true", help="the doctor reads the logs alone, and asks no weights")
    parser.add_argument("--train", action="store_true", help="train alone, and do not ask")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    args = parser.parse_args()
    healthy = [{stage: folder / stage for stage in STAGES} for folder in args.healthy]
    wanted = [fault for fault in faults() if args.only == fault.stage or args.only in fault.name]
    if not args.diagnose:
        import accelerate  # noqa: F401  once, before the forks
        import deepspeed  # noqa: F401
        import transformers  # noqa: F401

        for fault in wanted:
            plant(fault, args.out, healthy)
    if args.train:
        return
    well = [
        {"run": folder.name, "found": complaints(list(runs.values()), args.logs)}
        for folder, runs in zip(args.healthy, healthy, strict=True)
    ]
    for row in well:
        print(f"healthy {row['run']}: {row['found'] or 'no alarm'}", flush=True)
    rows = []
    for fault in wanted:
        if is_finished(home_of(fault, args.out)):
            rows.append(row := ask(fault, args.out, healthy[0], args.logs))
            told = "; ".join(f"{x['stage']} {x['status']}: {x['cause']}" for x in row["found"]) or "nothing"
            print(f"{'right' if row['right'] else 'WRONG'}  {fault.stage:4} {fault.name:40} {told}", flush=True)
    right, alarms = sum(row["right"] for row in rows), sum(bool(row["found"]) for row in well)
    print(f"{right} of {len(rows)} faults named; {alarms} of {len(well)} healthy runs raised an alarm")
    if args.write:
        from benchmarks.measure import machine

        content = {"command": " ".join(sys.argv), "machine": machine(), "probed": not args.logs}
        content |= {"faults": len(list(faults())), "healthy": well, "runs": rows}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
