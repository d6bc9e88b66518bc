"""Check that a value has the type that a dataclass field names, and is within its bounds."""

import math
import operator
import types
import typing
from collections.abc import Mapping
from typing import Any


def of_type(where: str, value: Any, hint: Any) -> Any:
    """Convert `value` to the type `hint`: 1e5 may be an int, 1 a float, a path a str; anything else must have the type.

    Raises ValueError naming `where`, the type and the value; also for a float that is not finite.
    """
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        first, *others = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if value is None or any(isinstance(value, kind) for kind in others):
            return value
        return of_type(where, value, first)
    kind = origin or hint
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int and number and math.isfinite(value) and value == int(value):
        return int(value)
    if kind is float and number:
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}: a finite number is needed")
        return value
    if kind is str and hasattr(value, "__fspath__"):
        return str(value)
    if kind is list and isinstance(value, tuple):
        return list(value)
    if not isinstance(value, kind) or (kind in (int, float) and not number):
        raise ValueError(f"{where} should be {_name(kind)}, but is {value!r}")
    return value


def _name(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "an object"}.get(
        kind, f"a {kind.__name__}"
    )


def check_bounds(where: str, value: float | None, bounds: Mapping[str, float]) -> None:
    """Raise ValueError unless `value` is None, or finite and within `bounds`.

    The bounds `least` and `most` are allowed themselves, `above` and `below` are not.
    """
    if value is None:
        return
    if not math.isfinite(value):
        raise ValueError(f"{where} is {value}: a finite number is needed")
    for name, holds in (
        ("least", operator.ge),
        ("most", operator.le),
        ("above", operator.gt),
        ("below", operator.lt),
    ):
        if name in bounds and not holds(value, bounds[name]):
            raise ValueError(
                f"{where} is {value}: it should be {f'at {name}' if name in ('least', 'most') else name} {bounds[name]}"
            )
