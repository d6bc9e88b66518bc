"""PPO that goes on with another number of processes (`train.elastic`); what the stages share is in run/elastic.py.

A training batch stays what it is over all processes, so steps, updates and the schedule are counted as before.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.checkpointing import load_custom_state
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from summarize_rlhf import UserError
from summarize_rlhf.run import checkpoints, elastic
from trlx.data.configs import TRLConfig, may_change_names
from trlx.pipeline.rollouts import Rollout, from_tensors, to_tensors
from trlx.trainer.rewards import shared_rows


def may_change(config: TRLConfig) -> frozenset[str]:
    """Return the settings that a resumed run may change: under `train.elastic` those that share out a batch, too."""
    return may_change_names() | ({"processes", "train.batch_size"} if config.train.elastic else frozenset())


def check_global_batch(trainer, before: Mapping[str, Any], directory: Path) -> None:
    """Raise `UserError` where a training batch has other rollouts, over all processes, than under settings `before`."""
    processes, size = trainer.accelerator.num_processes, trainer.config.train.batch_size
    together = before["processes"] * before["train.batch_size"]
    if processes * size == together:
        return
    remedy = f"set train.batch_size to {together // processes}"
    if together % processes:
        remedy = f"{processes} processes cannot share it evenly, take another number of them"
    raise UserError(
        f"{directory} was written with {before['processes']} process(es) × train.batch_size "
        f"{before['train.batch_size']} = {together} rollouts a training batch, but {processes} × {size} make "
        f"{processes * size}: {remedy}"
    )


def load_state(trainer, state: Path, progress: Any, wrote: int) -> None:
    """Load the folder `state` of a checkpoint that `wrote` processes have written. All processes call this.

    `progress` loads the trainer's own state. Raises `UserError` where the checkpoint is of another kind of launch.
    """
    accelerator, checkpoint = trainer.accelerator, state.parent
    under_deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
    if under_deepspeed != (state / "pytorch_model").is_dir():
        kinds = ("under", "without") if under_deepspeed else ("without", "under")
        raise UserError(
            f"{checkpoint} was written {kinds[1]} DeepSpeed, but this launch is {kinds[0]} it: the number of processes "
            "may change, not the kind of launch"
        )
    with checkpoints.tensors_only():
        if under_deepspeed:
            elastic.load_engine(trainer.model, state, checkpoint.parent / elastic.SCRATCH)
            load_custom_state(progress, str(state))
        else:
            accelerator.load_state(str(state))
    rank, processes = accelerator.process_index, accelerator.num_processes
    elastic.reseed(trainer.config.train.seed, trainer.step, rank)
    if trainer.collection is not None:
        trainer.collection.rollouts = shared_out(state, wrote, processes, rank, accelerator.device)
    elastic.tell(checkpoint, processes)


def shared_out(state: Path, wrote: int, processes: int, rank: int, device: torch.device) -> list[Rollout]:
    """Return this rank's rollouts of those that `wrote` processes have collected: those it would have collected."""
    files = [state / f"rollouts_{other}.safetensors" for other in range(wrote)]
    everyone = [rollout for file in files for rollout in from_tensors(load_file(file), torch.device("cpu"))]
    mine = [everyone[i] for i in shared_rows(len(everyone), processes, rank)]
    return from_tensors(to_tensors(mine), device)
