"""Where a stage begins: at the start, at a checkpoint of an interrupted run, or not at all after a finished run."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets
from accelerate import PartialState
from transformers import PreTrainedTokenizerFast

from summarize_rlhf import UserError
from summarize_rlhf.data import fingerprint
from summarize_rlhf.handover import RUN_FILE, read_run, sha256_of, without_secrets
from summarize_rlhf.run import checkpoints, elastic, kept, launch
from summarize_rlhf.run.arguments import names_that_may_change
from summarize_rlhf.tokenizer import tokenizer_hash

# These may not change once the run is finished: its checkpoints are gone, what is written is written.
WHILE_IT_RUNS = {"num_train_epochs", "max_steps", "merge_adapter"}


@dataclass
class ResumePoint:
    """`settings` must not change; at `checkpoint` the run goes on; if it is `finished`, there is nothing left to do."""

    settings: dict[str, Any]
    checkpoint: str | None
    finished: bool


def steps_dir_of(output_dir: str | Path) -> Path:
    """Return the directory of the step checkpoints, beside the output directory."""
    return Path(f"{Path(output_dir).resolve()}-steps")


def find_resume_point(
    args: Any,
    tokenizer: PreTrainedTokenizerFast,
    rows: datasets.Dataset,
    read: Callable[[Path], object],
    weights: str,
    chosen_on: datasets.Dataset | None = None,
) -> ResumePoint:
    """Look for what an earlier start with the same arguments (a dataclass of knobs) has left. All processes call this.

    `rows` are those of the training split; `read` is the next stage's reader; `weights` names those that the run starts
    from, by a hash where they are local. Inputs are compared by content: they may lie elsewhere by now. Where
    evaluations decide which model is kept, `chosen_on` are their rows, which may not change then. Raises `UserError`
    naming what has changed since, or why a directory that was finished cannot be read.
    """
    may_change = names_that_may_change(args) | ({"processes"} if args.elastic else set())
    settings = without_secrets(asdict(args)) | {
        "model": weights,
        "tokenizer": tokenizer_hash(tokenizer),
        "dataset": fingerprint(rows),
        "deepspeed_config": sha256_of(Path(args.deepspeed_config)),
        "processes": launch.world_size(),
    }
    if chosen_on is not None:
        settings["chosen_on"] = fingerprint(chosen_on)
    output_dir, steps_dir = Path(args.output_dir), steps_dir_of(args.output_dir)
    record = read_run(output_dir) if (output_dir / RUN_FILE).is_file() and not args.fresh else None
    if args.fresh and PartialState().is_main_process:
        drop_step_checkpoints(steps_dir)
    PartialState().wait_for_everyone()
    if record is None or "settings" not in record:
        found = checkpoints.find(steps_dir, settings, may_change, args.fresh)
        return ResumePoint(settings, None if found is None else str(found), finished=False)
    checkpoints.refuse_changes(record["settings"], settings, may_change - WHILE_IT_RUNS, output_dir)
    try:
        read(output_dir)
    except UserError as error:
        raise UserError(
            f"{output_dir} says that it is finished, but the next stage cannot read it: {error}. Move it away: the "
            f"same command then goes on from the checkpoints in {steps_dir}, or starts over where there are none"
        ) from error
    if PartialState().is_main_process:
        drop_step_checkpoints(steps_dir)
        print(f"{output_dir} was finished before, by the same command; --fresh starts over")
    return ResumePoint(settings, None, finished=True)


def drop_step_checkpoints(steps_dir: str | Path) -> None:
    """Remove what bridges an interruption: checkpoints, the best models beside them, and what else is kept there."""
    for pattern in ("checkpoint-*", "best-*"):
        for path in Path(steps_dir).glob(pattern):
            checkpoints.remove(path)
    for pattern in (".best-*.tmp", elastic.SCRATCH):  # of a process that was killed
        for path in Path(steps_dir).glob(pattern):
            shutil.rmtree(path)
    kept.drop_all(Path(steps_dir))
