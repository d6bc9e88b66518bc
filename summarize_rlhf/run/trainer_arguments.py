"""transformers' TrainingArguments for stages 1 and 2."""

import os
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainingArguments

from summarize_rlhf.run import launch, trackers
from summarize_rlhf.run.deepspeed_config import check_batch, deepspeed_config
from summarize_rlhf.run.deepspeed_defaults import clip_at

SCHEDULES = ["linear", "cosine", "constant_with_warmup", "constant", "polynomial", "inverse_sqrt"]

# Decides what is computed, but is no argument of a stage. Written out, because defaults change between releases.
FIXED: dict[str, Any] = {
    "optim": "adamw_torch_fused",
    "optim_args": None,
    "lr_scheduler_kwargs": None,
    "label_smoothing_factor": 0.0,
    "neftune_noise_alpha": None,
    "tf32": None,
    "torch_compile": False,
    "use_liger_kernel": False,
    "auto_find_batch_size": False,
    "full_determinism": False,
    "data_seed": None,
}


def training_arguments(
    args: Any, steps_dir: Path, dtype: torch.dtype, run_name: str | None = None
) -> TrainingArguments:
    """Build TrainingArguments for this machine from a stage's arguments. Joins the process group.

    `steps_dir` gets the checkpoints; `dtype` is the precision to train in; `run_name` is the name at the tracker.
    """
    trackers.check_tracker(args.report_to)
    steps = launch.accumulation(args.global_batch_size, args.per_device_train_batch_size, launch.world_size())
    batch = {
        "train_batch_size": args.global_batch_size,
        "train_micro_batch_size_per_gpu": args.per_device_train_batch_size,
        "gradient_accumulation_steps": steps,
    }
    return TrainingArguments(
        output_dir=str(steps_dir),
        num_train_epochs=args.num_train_epochs,
        max_steps=args.max_steps,
        per_device_train_batch_size=args.per_device_train_batch_size,
        gradient_accumulation_steps=steps,
        learning_rate=args.learning_rate,
        lr_scheduler_type=args.lr_scheduler_type,
        warmup_steps=args.warmup_steps,
        adam_beta1=args.adam_beta1,
        adam_beta2=args.adam_beta2,
        adam_epsilon=args.adam_epsilon,
        weight_decay=args.weight_decay,
        eval_strategy="steps",
        eval_steps=args.eval_steps,
        per_device_eval_batch_size=args.per_device_eval_batch_size,
        save_steps=args.save_steps,
        save_total_limit=args.save_total_limit,
        logging_steps=args.logging_steps,
        report_to=args.report_to,
        run_name=run_name,
        project=trackers.PROJECT,
        remove_unused_columns=False,
        seed=args.seed,
        **machine_arguments(args.deepspeed_config, dtype, args.max_grad_norm, batch),
    )


def machine_arguments(
    deepspeed_file: str | Path,
    dtype: torch.dtype,
    max_grad_norm: float | None = None,
    batch: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Return the TrainingArguments that depend on this machine, and those that are `FIXED`.

    `batch` is what the DeepSpeed file may say of the batch, by its names.

    On CPU this joins the processes over gloo first: left alone, Accelerate would see a single one.
    """
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ.pop("ACCELERATE_USE_CPU", None)  # of `accelerate launch --cpu`: it would rule DeepSpeed out
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        PartialState(backend="gloo")
    config = deepspeed_config(deepspeed_file, dtype)
    check_batch(deepspeed_file, config, batch or {})
    config["gradient_clipping"] = clip_at(max_grad_norm, config["gradient_clipping"])
    return {
        **FIXED,
        "deepspeed": config,
        "max_grad_norm": config["gradient_clipping"],
        "accelerator_config": {"use_configured_state": not on_gpu},
        "dataloader_pin_memory": on_gpu,
        "use_cpu": not on_gpu,  # Trainer takes bf16 on a CPU that is asked for
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
    }


def rate_is_constant(args: Any) -> bool:
    """Return whether the learning rate after the warm-up is the same however long the run is, which may then change."""
    return args.lr_scheduler_type.startswith("constant")
