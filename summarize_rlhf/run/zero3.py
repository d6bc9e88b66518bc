"""The weights of a model that DeepSpeed's ZeRO-3 has spread over the processes, put together again.

Under ZeRO-3 a parameter has the shape [0] outside of a module's forward and backward pass. Without it all of this gives
what is there anyway.
"""

import contextlib
from collections.abc import Iterator

import torch
from accelerate import PartialState
from torch import Tensor, nn


def is_spread(model: nn.Module) -> bool:
    """Whether ZeRO-3 holds the parameters."""
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


@contextlib.contextmanager
def gathered_model(model: nn.Module) -> Iterator[nn.Module]:
    """The model inside a DeepSpeed engine or other wrapper, usable on each process by itself.

    ZeRO-3 gathers all weights, and takes its hooks off, for as long as this lasts. All processes call this.
    """
    gathered = contextlib.nullcontext()
    if is_spread(model):
        import deepspeed

        gathered = deepspeed.zero.unwrap_model_for_generation(model)
    with gathered:
        yield getattr(model, "module", model)


def gathered_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """What `model.state_dict()` is without ZeRO-3, in main memory, on the first process; elsewhere it is empty.

    All processes call this. One parameter at a time is gathered.
    """
    state: dict[str, Tensor] = {}
    done: dict[int, Tensor] = {}  # by id: what two names share stays one tensor
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in done:
            done[id(tensor)] = _on_cpu(tensor)
        if PartialState().is_main_process:
            state[name] = done[id(tensor)]
    return state


def _on_cpu(tensor: Tensor) -> Tensor:
    if not hasattr(tensor, "ds_id"):
        return tensor.detach().cpu()
    import deepspeed

    with deepspeed.zero.GatheredParameters([tensor]):
        return tensor.detach().to("cpu", copy=True) if PartialState().is_main_process else torch.empty(0)


def most_of_any(count: int, device: torch.device) -> int:
    """The largest `count` of all processes. All call this."""
    most = torch.tensor(count, device=device)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    return int(most)
