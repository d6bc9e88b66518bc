"""Weights that DeepSpeed's ZeRO-3 has partitioned over the processes, gathered again.

Under ZeRO-3 a parameter has the shape [0] outside its module's forward and backward pass. Without ZeRO-3 all of this
returns what is there anyway.
"""

import contextlib
from collections.abc import Iterator

import torch
from accelerate import PartialState
from torch import Tensor, nn


def is_partitioned(tensor: Tensor) -> bool:
    """Return whether ZeRO-3 holds this parameter."""
    return hasattr(tensor, "ds_id")


def is_spread(model: nn.Module) -> bool:
    """Return whether ZeRO-3 holds the model's parameters."""
    return any(is_partitioned(parameter) for parameter in model.parameters())


@contextlib.contextmanager
def gathered_model(model: nn.Module) -> Iterator[nn.Module]:
    """Unwrap the model of a DeepSpeed engine or other wrapper, usable on each process by itself.

    For as long as this lasts, ZeRO-3 gathers all weights and takes its hooks off. All processes call this.
    """
    gathered = contextlib.nullcontext()
    if is_spread(model):
        import deepspeed

        gathered = deepspeed.zero.unwrap_model_for_generation(model)
    with gathered:
        yield getattr(model, "module", model)


@contextlib.contextmanager
def gathered_parameter(parameter: Tensor, modified: bool = False) -> Iterator[bool]:
    """Gather one parameter (or nothing, for a buffer). Yields whether this process is to read or write it.

    With `modified`, what the first process writes reaches all. All processes call this.
    """
    if not is_partitioned(parameter):
        yield True
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0 if modified else None):
        yield PartialState().is_main_process


def gathered_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return, on the first process, what `model.state_dict()` is without ZeRO-3, in main memory; elsewhere nothing.

    One parameter at a time is gathered. All processes call this.
    """
    first = PartialState().is_main_process
    state: dict[str, Tensor] = {}
    done: dict[int, Tensor] = {}  # by id: what two names share stays one tensor
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in done:
            with gathered_parameter(tensor):
                done[id(tensor)] = tensor.detach().to("cpu", copy=is_partitioned(tensor)) if first else torch.empty(0)
        if first:
            state[name] = done[id(tensor)]
    return state


def max_over_processes(count: int, device: torch.device) -> int:
    """Return the largest `count` of all processes. All processes call this."""
    most = torch.tensor(count, device=device)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    return int(most)
