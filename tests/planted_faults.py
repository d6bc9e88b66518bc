"""Does the doctor name what is wrong? Plants one fault at a time, trains the stage, and asks.

    python tests/planted_faults.py --out /tmp/faults --healthy results/quickstart/seed_{1,2,3} --write
    python tests/planted_faults.py --out /tmp/faults --only rm      # those of one stage, or of a name's part
    python tests/planted_faults.py --out /tmp/faults --diagnose     # train nothing: ask again about what is there

Works on the quickstart's data and model. The faulty stages are trained at a reduced size, on the healthy ones of the
first seed; three healthy seeds, with all stages, must raise no alarm: runs of ./quickstart.sh, or without `--healthy`
trained at the reduced size. One process loads the libraries and forks for each training. `--write` writes the table's
raw file, docs/results/doctor/planted.json.
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

from summarize_rlhf.doctor.evidence import Run, load  # noqa: E402
from summarize_rlhf.doctor.finding import HEALTHY  # noqa: E402
from summarize_rlhf.doctor.verdict import blamed, examine  # noqa: E402

MODEL, DATA = ROOT / "quickstart/model", ROOT / "quickstart/data"
TLDR, PAIRS = DATA / "openai_summarize_tldr", DATA / "openai_summarize_comparisons"
RESULTS = ROOT / "docs/results/doctor/planted.json"
# The quickstart's options, with fewer and smaller steps.
SFT = {
    "model": MODEL, "dataset": TLDR, "report_to": "none", "max_length": 256, "loss_on": "summary",
    "gradient_checkpointing": False, "max_train_rows": 800, "max_eval_rows": 40, "global_batch_size": 16,
    "per_device_train_batch_size": 16, "max_steps": 60, "learning_rate": SFT_RATE, "lr_scheduler_type": "linear",
    "warmup_steps": 10, "max_grad_norm": 1.0, "keep": "last", "eval_steps": 12, "logging_steps": 3, "rouge_rows": 24,
}  # fmt: skip
RM = {
    "dataset": PAIRS, "report_to": "none", "max_length": 256, "trainable_fraction": 1, "max_train_rows": 500,
    "max_eval_rows": 100, "global_batch_size": 8, "per_device_train_batch_size": 8, "max_steps": 64,
    "learning_rate": RM_RATE, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_grad_norm": 1.0,
    "per_device_eval_batch_size": 32, "eval_steps": 16, "logging_steps": 8,
}  # fmt: skip
PPO = {
    "task.dataset": TLDR, "task.max_train_prompts": 96, "task.max_eval_prompts": 16, "train.tracker": None,
    "train.seq_length": 256, "train.epochs": 4, "train.batch_size": 8, "train.minibatch_size": 8,
    "train.eval_interval": 24, "train.max_grad_norm": 1.0, "train.save_optimizer": False,
    "model.num_layers_unfrozen": 2, "method.num_rollouts": 24, "method.chunk_size": 24, "method.init_kl_coef": KL,
    "optimizer.kwargs.lr": PPO_RATE, "scheduler.kwargs.eta_min": PPO_RATE,
}  # fmt: skip
STAGES, SEEDS = ("sft", "rm", "ppo"), (1, 2, 3)
PROBED: dict[Path, Any] = {}  # a stage's evidence, by its directory


def train(fault: Fault | None, stage: str, seed: int, runs: dict[str, Path]) -> None:
    """Train a stage into `runs[stage]`, healthy or with a fault; called in a child process."""
    import datasets

    options, out = (dict(fault.options) if fault else {}), runs[stage]
    with contextlib.ExitStack() as stack:
        if fault is not None:
            if fault.patch is not contextlib.nullcontext:  # what another code has tokenized is not for this one
                datasets.config.HF_DATASETS_CACHE = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(fault.patch())
        if stage == "ppo":
            from trlx_gptj_text_summarization import main

            given = {"model.model_path": runs["sft"], "task.reward_model": runs["rm"], "train.checkpoint_dir": out}
            argv = [json.dumps(PPO | given | {"train.seed": seed} | options, default=str)]
        else:
            given = {"output_dir": out, "seed": seed}
            if stage == "sft":
                from sft.train_gptj_summarize import main

                given |= SFT
            else:
                from reward_model.train_reward_model_gptj import main

                given |= RM | {"model": runs["sft"]}
            if fault is not None and fault.data is not None:
                given["dataset"] = write_changed(given["dataset"], out.parent / "data", fault.data)
            argv = [word for name, value in (given | options).items() for word in (f"--{name}", str(value))]
        sys.argv = ["stage", *argv]
        main()


def finished(stage: str, folder: Path) -> bool:
    if folder.is_symlink():
        return True
    return (folder / ("done" if stage == "ppo" else "run.json")).exists()


def ensure(fault: Fault | None, stage: str, seed: int, runs: dict[str, Path]) -> None:
    """Train unless that was done before."""
    if finished(stage, runs[stage]):
        return
    start = time.time()
    forked(train, fault, stage, seed, runs)
    if stage == "ppo":
        (runs[stage] / "done").touch()
    print(f"    trained {runs[stage]} in {time.time() - start:.0f} s", flush=True)


def complaints(runs: list[Path]) -> list[dict[str, Any]]:
    """Return what the doctor has to say of the stages in `runs`, healthy ones left out; each is probed once."""
    from summarize_rlhf.doctor.probes import probe

    run = load(runs)
    for name in ("sft", "rm"):
        evidence = getattr(run, name)
        if evidence is None:
            continue
        if evidence.directory not in PROBED:
            told = probe(Run(**{name: evidence}))
            assert told == [], told
            PROBED[evidence.directory] = evidence
        setattr(run, name, PROBED[evidence.directory])
    return [row for row in examine(run) if row["status"] != HEALTHY]


def link(folder: Path, run: Path) -> None:
    """Let the healthy stages in `folder` be those of a run of ./quickstart.sh."""
    folder.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        if not (folder / stage).exists():
            (folder / stage).symlink_to((run / stage).resolve())


def healthy_runs(out: Path, seed: int) -> dict[str, Path]:
    return {stage: out / f"healthy_{seed}" / stage for stage in STAGES}


def planted_runs(out: Path, fault: Fault) -> dict[str, Path]:
    """Return the stages' folders: healthy ones, and the fault's own for its stage."""
    name = f"{fault.stage} {fault.name}".replace("×", "times").replace("÷", "by")
    folder = out / "".join(x if x.isalnum() else "_" for x in name)
    return healthy_runs(out, 1) | {fault.stage: folder / fault.stage}


def plant(out: Path, fault: Fault) -> None:
    runs = planted_runs(out, fault)
    if fault.start is not None:
        runs["sft"] = healthy_runs(out, int(fault.start))["sft"]
    ensure(fault, fault.stage, 1, runs)


def case(out: Path, fault: Fault) -> dict[str, Any]:
    """Ask the doctor about the stages up to the fault's. It is named if that is what it would mend first."""
    runs = planted_runs(out, fault)
    given = [runs[stage] for stage in STAGES[: STAGES.index(fault.stage) + 1]]
    found = complaints(given)
    first = blamed(found)
    right = first is not None and (first["stage"], first["cause"]) == (fault.stage, fault.cause)
    planted = {"stage": fault.stage, "fault": fault.name, "cause": fault.cause}
    return planted | {"right": right, "blamed": first, "found": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the runs go; what is finished there is kept")
    parser.add_argument("--healthy", type=Path, nargs="+", metavar="RUN", help="folders of ./quickstart.sh")
    parser.add_argument("--only", default="", help="faults of this stage, or whose name holds this")
    parser.add_argument("--diagnose", action="store_true", help="train nothing")
    parser.add_argument("--train", action="store_true", help="train alone, and do not ask")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    args = parser.parse_args()
    if not args.diagnose:  # once, before the forks
        import accelerate  # noqa: F401
        import deepspeed  # noqa: F401
        import transformers  # noqa: F401

    for seed, run in enumerate(args.healthy or (), start=1):
        link(args.out / f"healthy_{seed}", run)
    wanted = [f for f in faults() if not args.only or args.only == f.stage or args.only in f.name]
    for stage in STAGES if not args.diagnose else ():
        for seed in SEEDS:
            ensure(None, stage, seed, healthy_runs(args.out, seed))
        for fault in wanted:
            if fault.stage == stage:
                plant(args.out, fault)
    if args.train:
        return
    healthy = []
    for seed in SEEDS:
        runs = healthy_runs(args.out, seed)
        if all(finished(stage, runs[stage]) for stage in STAGES):
            found = complaints(list(runs.values()))
            healthy.append({"seed": seed, "found": found})
            print(f"healthy seed {seed}: {found or 'no alarm'}", flush=True)
    rows = []
    for fault in wanted:
        if not finished(fault.stage, planted_runs(args.out, fault)[fault.stage]):
            continue
        row = case(args.out, fault)
        rows.append(row)
        told = "; ".join(f"{x['stage']} {x['status']}: {x['cause']}" for x in row["found"]) or "nothing"
        print(f"{'right' if row['right'] else 'WRONG'}  {fault.stage:4} {fault.name:40} {told}", flush=True)
    alarms = sum(bool(seed["found"]) for seed in healthy)
    print(
        f"{sum(row['right'] for row in rows)} of {len(rows)} faults named; {alarms} of {len(healthy)} healthy alarmed"
    )
    if args.write:
        from benchmarks.measure import machine

        content = {"command": " ".join(sys.argv), "machine": machine(), "healthy": healthy, "runs": rows}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
