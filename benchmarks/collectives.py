"""Count what a process hands to torch's collectives, whoever calls them.

What a ring sends for it follows: each of n processes sends (n - 1)/n of the bytes, of an all-reduce twice
(`traffic.UNITS`).
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, distributed
from torch.distributed import distributed_c10d

# Of each function the collective, and the argument that has the numbers of all processes
COUNTED = {
    "all_reduce": ("all-reduce", "tensor"),
    "reduce_scatter_tensor": ("reduce-scatter", "input"),
    "all_gather_into_tensor": ("all-gather", "output_tensor"),
    "all_gather": ("all-gather", "tensor_list"),
}


def count_collectives(into: dict[str, int]) -> None:
    """Add to `into`, from now on, the bytes of each collective of this process. Call this before DeepSpeed starts."""
    for name, (kind, argument) in COUNTED.items():
        into.setdefault(kind, 0)
        counted = counting(getattr(distributed, name), kind, argument, into)
        setattr(distributed, name, counted)
        setattr(distributed_c10d, name, counted)


def counting(function: Callable, kind: str, argument: str, into: dict[str, int]) -> Callable:
    """Return `function`, which adds the bytes of one of its arguments to `into[kind]`."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments[argument]
        into[kind] += sum(x.numel() * x.element_size() for x in ([given] if isinstance(given, Tensor) else given))
        return function(*args, **kwargs)

    return counted
