"""What stages 1 and 2 do alike around their training: where it goes on, and whether there is anything left to do."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets
from accelerate import PartialState
from transformers import PreTrainedTokenizerFast

from summarize_rlhf import UserError
from summarize_rlhf.data import fingerprint
from summarize_rlhf.handover import read_run
from summarize_rlhf.lm.model_directory import Reader
from summarize_rlhf.run import checkpoints, launch
from summarize_rlhf.tokenizer import tokenizer_hash

# Arguments that may change when a run goes on: they change nothing that is computed, or rounding alone.
FREE = frozenset(
    {
        "eval_steps",
        "fresh",
        "gradient_checkpointing",
        "logging_steps",
        "max_eval_rows",
        "max_new_tokens",
        "output_dir",
        "pack_pairs",
        "per_device_eval_batch_size",
        "per_device_train_batch_size",
        "report_to",
        "rouge_rows",
        "save_minutes",
        "save_steps",
        "save_total_limit",
        "trunk_cache_gb",
    }
)
LENGTH = {"num_train_epochs", "max_steps"}  # free where the learning rate does not follow from them


@dataclass
class StageRun:
    """`settings`: what must not change; `resume_from`: the checkpoint to go on from; `finished`: nothing is left."""

    settings: dict[str, Any]
    resume_from: str | None
    finished: bool


def steps_dir_of(output_dir: str | Path) -> Path:
    """Where step checkpoints lie, beside the output directory."""
    return Path(f"{Path(output_dir).absolute()}-steps")


def find_resume_point(
    args: Any,
    tokenizer: PreTrainedTokenizerFast,
    rows: datasets.Dataset,
    read: Reader,
    chosen_on: datasets.Dataset | None = None,
) -> StageRun:
    """Looks for what an earlier start with the same arguments (a dataclass) has left. All processes call this.

    `rows` are those of the training split; `read` is the next stage's reader. Where the evaluations decide which model
    is kept, `chosen_on` are their rows; then neither these nor `eval_steps` may change. Raises `UserError` naming what
    has changed since, or why a directory that was finished cannot be read.
    """
    free = FREE | (LENGTH if args.lr_scheduler_type.startswith("constant") else set())
    settings = asdict(args) | {
        "tokenizer": tokenizer_hash(tokenizer),
        "train": fingerprint(rows),
        "processes": launch.world_size(),
    }
    if chosen_on is not None:
        free -= {"eval_steps", "max_eval_rows"}
        settings["chosen_on"] = fingerprint(chosen_on)
    output_dir, steps_dir = Path(args.output_dir), steps_dir_of(args.output_dir)
    first = PartialState().is_main_process
    record = read_run(output_dir) if (output_dir / "run.json").is_file() and not args.fresh else None
    if record is not None and "settings" in record:
        checkpoints.refuse_changes(record["settings"], settings, free - LENGTH, output_dir)
        try:
            read(output_dir)
        except UserError as error:
            raise UserError(
                f"{output_dir} says that it is finished, but the next stage cannot read it: {error}. Move it away: the "
                f"same command then goes on from the checkpoints in {steps_dir}, or starts over where there are none"
            ) from error
        if first:
            drop_step_checkpoints(steps_dir)
            print(f"{output_dir} was finished before, by the same command; --fresh starts over")
        return StageRun(settings, None, finished=True)
    found = checkpoints.find(steps_dir, settings, free, args.fresh)
    return StageRun(settings, None if found is None else str(found), finished=False)


def drop_step_checkpoints(steps_dir: str | Path) -> None:
    """Remove ``checkpoint-N``, ``best-N`` and what else bridges an interruption: what counts is in the directory."""
    for pattern in ("checkpoint-*", "best-*", ".best-*.tmp"):  # the last is of a process that was killed
        for path in Path(steps_dir).glob(pattern):
            shutil.rmtree(path)
    for name in ("frozen_*", "wandb_run_id"):  # the first are of reward_model/frozen_blocks.py
        for path in Path(steps_dir).glob(name):
            path.unlink()
