"""A DeepSpeed file made to fit this machine."""

import copy
import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from summarize_rlhf import UserError
from summarize_rlhf.reading import reading
from summarize_rlhf.run.deepspeed_defaults import written_out
from summarize_rlhf.versions import ROOT

NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}  # as DeepSpeed has them

# Options that leave what is trained without an fp32 copy.
ALONE = (("bf16", "bf16_master_weights_and_grads"), ("fp16", "fp16_master_weights_and_grads"))


def deepspeed_config(path: str | Path, dtype: torch.dtype, **overrides: Any) -> dict[str, Any]:
    """Read a DeepSpeed file, adapt it to this machine and fill in its defaults; `overrides` replace top-level keys.

    The files hold the published settings (fp16, optimizer offload). `dtype` is what this machine trains in: for
    bf16 the fp16 section gives way to a bf16 section, for fp32 it goes. On CPU the offload goes as well: its Adam
    is compiled C++, torch's needs no compiler. Raises `UserError` for an unreadable file, for one of another precision,
    and where there are a GPU and an offload, but no compiler.

    A relative path means the working directory, or else this repository, whose configurations name files so.
    """
    config = sections_of(path) | overrides
    if config.get("bf16", {}).get("enabled") is True and dtype != torch.bfloat16:
        raise UserError(
            f"the DeepSpeed file {path} trains in bf16, but the stage in {NAMES[dtype]}: take the section bf16 out, or "
            "ask for it by --precision bf16 (PPO: train.precision)"
        )
    if dtype != torch.float16:
        config.pop("fp16", None)
    if dtype == torch.bfloat16:
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
    with reading(path, "DeepSpeed file", "DeepSpeed does not take that"):
        check_options("zero_optimization", config.get("zero_optimization", {}))
        found = written_out(config, NAMES[dtype])
        for section in {"fp16", "bf16"} & found.keys():
            check_options(section, found[section])
        check_whole(found)
    return found


def sections_of(path: str | Path) -> dict[str, Any]:
    """Read a DeepSpeed file as it is. Raises `UserError` for an unreadable one."""
    path = Path(path) if Path(path).exists() else ROOT / path
    with reading(path, "DeepSpeed file", "is it DeepSpeed's JSON?"):
        config = json.loads(path.read_text(encoding="utf-8"))
        check_sections(config)
    return config


def fit_buckets(config: dict[str, Any], model: nn.Module) -> None:
    """Make the buckets of a DeepSpeed configuration no larger than `model`, in place; nothing else is computed by that.

    DeepSpeed allocates a gradient bucket whole: the published 5e8 numbers take 2 GB in fp32, whatever the model. A
    bucket that holds all gradients is filled once in either case.
    """
    zero = config.get("zero_optimization", {})
    sizes = {
        "reduce_bucket_size": sum(size_of(p) for p in model.parameters() if p.requires_grad),
        "stage3_prefetch_bucket_size": sum(size_of(p) for p in model.parameters()),
    }
    for name, size in sizes.items():
        if isinstance(zero.get(name), int | float):  # not "auto"
            zero[name] = min(zero[name], max(size, 1))


def size_of(parameter: nn.Parameter) -> int:
    """Return how many numbers a parameter has, those that ZeRO-3 keeps in other processes too."""
    return getattr(parameter, "ds_numel", parameter.numel())


def check_batch(path: str | Path, config: dict[str, Any], batch: dict[str, int]) -> None:
    """Raise `UserError` where a DeepSpeed file names another batch than a stage's arguments give."""
    for name, expected in batch.items():
        if config.get(name, "auto") not in ("auto", expected):
            raise UserError(
                f"the DeepSpeed file {path} says {name} {config[name]}, but the arguments give {expected}: write "
                '"auto" there, or change the arguments'
            )


def check_options(section: str, options: dict[str, Any]) -> None:
    """Raise `ValueError` for an option that DeepSpeed does not know, and for a value that it does not take."""
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    kinds = {"zero_optimization": DeepSpeedZeroConfig, "fp16": DeepSpeedFP16Config, "bf16": DeepSpeedBF16Config}
    try:
        kinds[section](**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join([section, *map(str, first["loc"])])
        if first["type"] == "extra_forbidden":
            raise ValueError(f"{name} is no option") from error
        raise ValueError(f"{name} is {json.dumps(first['input'])}: {first['msg']}") from error


def check_whole(config: dict[str, Any]) -> None:
    """Raise whatever DeepSpeed raises where it does not take a configuration, its batch apart, which a stage gives."""
    from deepspeed.runtime.config import DeepSpeedConfig, DtypeEnum

    for dtype in config["data_types"].values():
        if dtype not in (None, "auto"):
            DtypeEnum(dtype)
    batch = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
    known = {name: x for name, x in config.items() if x != "auto" and name != "train_batch_size"}
    DeepSpeedConfig(copy.deepcopy(known | batch))


def check_sections(config: Any) -> None:
    """Raise `ValueError` unless the sections that are read here have the form that DeepSpeed gives them."""
    if not isinstance(config, dict):
        raise ValueError("it should hold an object")
    for name in ("fp16", "bf16", "zero_optimization", "data_types", "torch_autocast"):
        if not isinstance(config.get(name, {}), dict):
            raise ValueError(f"{name} should be an object, but is {json.dumps(config[name])}")
    for section, name in ALONE:
        if config.get(section, {}).get(name):
            raise ValueError(f"{name} would keep weights in half precision alone, in which small steps are lost")
    for name in ("optimizer", "scheduler"):
        if name in config:
            raise ValueError(f"it has a section {name!r}, but that is the stage's own: take the section out")
    for section in ("fp16", "bf16"):
        if config.get(section, {}).get("enabled", "auto") not in (True, False, "auto"):
            raise ValueError(f'{section}.enabled should be true, false or "auto"')
    clip = config.get("gradient_clipping", "auto")
    if clip != "auto" and (isinstance(clip, bool) or not isinstance(clip, int | float) or not 0 <= clip < math.inf):
        raise ValueError(f'gradient_clipping should be a number from 0 on or "auto", but is {json.dumps(clip)}')
