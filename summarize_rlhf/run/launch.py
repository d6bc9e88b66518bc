"""The processes of a launch: their number, how they meet, and each one's share of a batch."""

import collections
import os
import socket
import warnings

import torch

from summarize_rlhf import UserError


def join_launch() -> None:
    """Join the launch, or without a launcher make one of a single process. Call this first in ``main``.

    So ``python script.py`` does what ``deepspeed script.py`` does.
    """
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
