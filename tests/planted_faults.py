"""Does the doctor name what is wrong? Plants one fault at a time, trains the stage, and asks.

    python tests/planted_faults.py results/quickstart/seed_{1,2,3} --out /tmp/faults --write
    python tests/planted_faults.py … --only rm      # those of one stage, or of a name's part
    python tests/planted_faults.py … --diagnose     # train nothing: ask again about what is there

The healthy runs are those of ./quickstart.sh; they must raise no alarm. A fault's stage is trained with the options of
the first of them, one thing changed, on the quickstart's data and that run's healthy stages; PPO with half the
collections. One process loads the libraries and forks for each training; what is finished in `--out` is not trained
again. `--write` writes docs/results/doctor/planted.json.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import Fault, faults, write_changed  # noqa: E402
from forked import forked  # noqa: E402
from forkserver import DOCUMENTED  # noqa: E402
from launch import free_port  # noqa: E402

from summarize_rlhf.doctor.evidence import Run, dotted, load, read_lines, record_of  # noqa: E402
from summarize_rlhf.doctor.finding import HEALTHY  # noqa: E402
from summarize_rlhf.doctor.verdict import blamed, examine  # noqa: E402

DATA = ROOT / "quickstart/data"
RESULTS = ROOT / "docs/results/doctor/planted.json"
REDUCED = {"train.epochs": 8}  # stage 3, half the quickstart's collections
PROMPTS = ("max_train_prompts", "max_eval_prompts")  # stage 3's options that run.json has under its data's identity
DATASETS = {
    "sft": DATA / "openai_summarize_tldr",
    "rm": DATA / "openai_summarize_comparisons",
    "ppo": DATA / "openai_summarize_tldr",
}
DEEPSPEED = "configs/ds_config_trlx_gptj_summarize.json"  # of stage 3
STAGES = ("sft", "rm", "ppo")
PROBED: dict[Path, Any] = {}  # a stage's evidence, by its directory
Runs = dict[str, Path]  # the stages' directories


def train(fault: Fault, out: Path, runs: Runs) -> None:
    """Train the fault's stage into `out`, on the healthy stages in `runs`; called in a child process."""
    import datasets

    options, data = healthy_options(runs[fault.stage]), DATASETS[fault.stage]
    options |= {name: options[name] * factor for name, factor in fault.times.items()}
    if fault.data is not None:
        data = write_changed(data, out.parent / "data", fault.data)
    with contextlib.ExitStack() as stack:
        if fault.patch is not contextlib.nullcontext:  # what another code has tokenized is not for this one
            datasets.config.HF_DATASETS_CACHE = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(fault.patch())
        if fault.stage == "ppo":
            os.environ |= DOCUMENTED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(ROOT / DEEPSPEED)}
            os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
            os.environ["MASTER_PORT"] = str(free_port())
            from trlx_gptj_text_summarization import main

            given = {"model.model_path": runs["sft"], "tokenizer.tokenizer_path": runs["sft"], "task.dataset": data}
            given |= {"task.reward_model": runs["rm"], "train.checkpoint_dir": out}
            argv = [json.dumps(options | REDUCED | given | dict(fault.options), default=str)]
        else:
            if fault.stage == "sft":
                from sft.train_gptj_summarize import main
            else:
                from reward_model.train_reward_model_gptj import main

                options["model"] = runs["sft"]
            given = options | {"dataset": data, "output_dir": out} | dict(fault.options)
            argv = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
        sys.argv = ["stage", *argv]
        main()


def healthy_options(directory: Path) -> dict[str, Any]:
    """Return the options that a stage ran with, by their (dotted) names."""
    options, identity = dotted(record_of(directory)["arguments"]), "train.trainer_kwargs.identity."
    prompts = {f"task.{name}": options[identity + name] for name in PROMPTS if identity + name in options}
    return {name: value for name, value in options.items() if not name.startswith(identity)} | prompts


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
    if lacking := [str(folder) for folder in args.healthy if not folder.is_dir()]:
        parser.error(f"no such run: {', '.join(lacking)}; ./quickstart.sh --seed N makes them")
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

        content = {"command": "python tests/planted_faults.py", "machine": machine(), "probed": not args.logs}
        content |= {"faults": len(list(faults())), "healthy": well, "runs": rows}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
