"""The processes of a launch: their number, how they meet, and each one's share of a batch."""

import collections
import os
import socket
import warnings
from collections.abc import Mapping

import torch

from summarize_rlhf import UserError

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what every launcher sets
MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Check what a launcher has set, before a process waits for others that do not exist.

    Raises `UserError` for variables that are missing, no numbers, or left over from another launch, and where
    ``accelerate launch`` was asked for several processes and has started one.
    """
    for kind in ("FSDP", "MEGATRON_LM"):
        if environment.get(f"ACCELERATE_USE_{kind}", "false") == "true":
            raise UserError(
                f"the Accelerate configuration asks for {kind}, which is not supported: large models are spread by "
                "DeepSpeed (configs/default_accelerate_config.yaml, ZeRO-2 or -3 in its DeepSpeed file)"
            )
    set_here = [name for name in LAUNCHED if environment.get(name, "") != ""]
    remedy = f"start by a launcher (deepspeed, accelerate launch, torchrun), or unset {', '.join(LAUNCHED)}"
    if "RANK" not in set_here:
        if "LOCAL_RANK" in set_here or environment.get("WORLD_SIZE", "") not in ("", "1"):
            found = ", ".join(f"{name}={environment[name]}" for name in set_here)
            raise UserError(f"the environment has {found} but no RANK, as if left over from another launch: {remedy}")
        asked = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_PORT" in set_here
        if asked and not any(name in environment for name in MPI):
            raise UserError(
                "accelerate launch was asked for several processes, but without a GPU or a configuration of several it "
                "starts one: add --config_file configs/default_accelerate_config.yaml"
            )
        return
    missing = [name for name in LAUNCHED if name not in set_here]
    if missing:
        raise UserError(f"RANK is set in the environment, but {', '.join(missing)} is not: {remedy}")
    numbers = {}
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        text = environment[name]
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise UserError(f"{name} in the environment should be a whole number, but is {text[:40]!r}: {remedy}")
        numbers[name] = int(text)
    if not numbers["LOCAL_RANK"] <= numbers["RANK"] < numbers["WORLD_SIZE"]:
        found = ", ".join(f"{name}={numbers[name]}" for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"))
        raise UserError(f"the environment has {found}, which is no process of a launch: {remedy}")
    if not 0 < numbers["MASTER_PORT"] < 2**16:
        raise UserError(f"MASTER_PORT={numbers['MASTER_PORT']} in the environment is no port (1 to 65535)")


def join_launch() -> None:
    """Join the launch, or without a launcher make one of a single process. Call this first in ``main``.

    So ``python script.py`` does what ``deepspeed script.py`` does. Raises `UserError`: `check_environment`.
    """
    check_environment()
    prepare_deepspeed()
    if "RANK" in os.environ:
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))


def prepare_deepspeed() -> None:
    """Tell DeepSpeed, before it is used, whether it is on a CPU, and that it has no compiled operations there.

    Otherwise it would compile its shared-memory all-reduce at the first start (40 s), and end with a traceback where
    there is no C++ compiler; gloo does the same work. It looks for compilers only while its table of operations is
    missing.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__ = collections.defaultdict(bool)
    # DeepSpeed on several processes still calls functions that torch has renamed.
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)


def world_size() -> int:
    """Return the number of processes of this launch (1 without a launcher)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_processes() -> int:
    """Return the number of processes of this launch on this machine, 1 where the launcher does not say."""
    names = ("LOCAL_WORLD_SIZE", "LOCAL_SIZE")  # torchrun's and Accelerate's, and DeepSpeed's
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), 1)


def accumulation(global_batch: int, per_device: int, processes: int) -> int:
    """Return the micro-batches per optimizer step: ``processes`` × ``per_device`` × this = ``global_batch`` rows.

    Raises ``UserError``, with the nearest batches that divide evenly, where there is no such number.
    """
    at_once = per_device * processes
    steps, rest = divmod(global_batch, at_once)
    if rest == 0 and steps > 0:
        return steps
    fits = [n for n in range(1, global_batch + 1) if global_batch % (n * processes) == 0]
    nearest = min(fits, key=lambda n: (abs(n - per_device), n), default=None)
    remedy = f"a per-device batch of {nearest} would do" if nearest else f"{processes} processes cannot share it evenly"
    below, above = max(steps, 1) * at_once, (steps + 1) * at_once
    raise UserError(
        f"a global batch of {global_batch} cannot be made of {processes} process(es) × {per_device} rows: {remedy}, "
        f"or a global batch of {below}{f' or {above}' if above != below else ''}"
    )
