"""Check that a value has the type that a dataclass field names, and is within its bounds."""

import math
import operator
import types
import typing
from collections.abc import Mapping
from typing import Any

LARGEST = 2**63 - 1


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
        check_size(where, value)
        return int(value)
    if kind is float and number:
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}: a finite number is needed")
        return value
    if kind is str and hasattr(value, "__fspath__"):
        return str(value)
    if kind is list and isinstance(value, tuple):
        return list(value)
    if kind is str and isinstance(value, str):
        check_text(where, value)
    if not isinstance(value, kind) or (kind in (int, float) and not number):
        raise ValueError(f"{where} should be {_name(kind)}, but is {value!r}")
    return value


def check_size(where: str, value: float) -> None:
    """Raise ValueError for a number that no counter of torch or datasets can hold."""
    if abs(value) > LARGEST:
        raise ValueError(f"{where} is {value:.3g}: at most {LARGEST} (2^63 - 1) can be counted")


def check_text(where: str, value: str) -> None:
    """Raise ValueError for a text that no file can be named by: it has a NUL, or half a character."""
    if "\0" in value or (not value.isascii() and value != value.encode(errors="replace").decode()):
        raise ValueError(f"{where} holds a NUL or half a character: {value!r}")


def check_given(where: str, value: str) -> None:
    """Raise ValueError for a text that is empty, besides what `check_text` refuses: "" would name this directory."""
    if not value.strip():
        raise ValueError(f"{where} is empty")
    check_text(where, value)


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
    if isinstance(value, int):
        check_size(where, value)
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
