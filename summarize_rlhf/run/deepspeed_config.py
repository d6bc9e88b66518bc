"""The DeepSpeed configuration for this machine, and what else a Trainer needs to know of it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from summarize_rlhf import UserError
from summarize_rlhf.lm.precision import dtype, precision
from summarize_rlhf.run.deepspeed_defaults import TRAINER, check_sections, clip_at, written_out
from summarize_rlhf.versions import ROOT


def deepspeed_config(path: str | Path, **overrides: Any) -> dict[str, Any]:
    """The DeepSpeed file, made to fit this machine and written out (``explicit.py``); ``overrides`` replace its
    top-level keys.

    The files hold the published settings (fp16, optimizer offload). bf16 hardware gets a bf16 section instead
    of fp16. On CPU both go, and so does the offload: its Adam is compiled C++, torch's needs no compiler.
    ``UserError`` where there are a GPU and an offload, but no compiler.

    A relative path means the working directory, or else this repository, whose configurations name files so.
    """
    path = Path(path) if Path(path).exists() else ROOT / path
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
        check_sections(config)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the DeepSpeed file {path}: {error}") from error
    config |= overrides
    kind = precision()
    if not kind["fp16"]:
        config.pop("fp16", None)
    if kind["bf16"]:
        config["bf16"] = {**config.get("bf16", {}), "enabled": True}
    zero = dict(config.get("zero_optimization", {}))
    if not torch.cuda.is_available():
        zero.pop("offload_optimizer", None)
        zero.pop("offload_param", None)
        config["zero_optimization"] = zero
    elif "offload_optimizer" in zero and not (shutil.which("c++") or shutil.which("g++")):
        raise UserError(
            f"{path} offloads the optimizer, whose Adam DeepSpeed compiles at the start, but there is no C++ compiler "
            f"(g++): install one, or give --deepspeed_config a file without offload_optimizer"
        )
    return written_out(config, dtype())


def trainer_arguments(deepspeed_file: str | Path, max_grad_norm: float | None = None) -> dict[str, Any]:
    """What the hardware decides of a TrainingArguments: precision, DeepSpeed, the process group, pinned memory.

    And what must not change with a release of theirs: ``explicit.TRAINER``, and where gradients are clipped.

    On CPU this joins the processes over gloo first: left alone, Accelerate would see a single one.
    """
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ.pop("ACCELERATE_USE_CPU", None)  # of `accelerate launch --cpu`: it would rule DeepSpeed out
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        PartialState(backend="gloo")
    config = deepspeed_config(deepspeed_file)
    config["gradient_clipping"] = clip_at(max_grad_norm, config["gradient_clipping"])
    return {
        **TRAINER,
        "deepspeed": config,
        "max_grad_norm": config["gradient_clipping"],
        "accelerator_config": {"use_configured_state": not on_gpu},
        "dataloader_pin_memory": on_gpu,
        **precision(),
    }
