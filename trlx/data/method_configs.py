"""The register of methods. PPO alone is in it."""

from dataclasses import dataclass

from trlx.data.scope import check_known

_METHODS: dict[str, type] = {}


@dataclass
class MethodConfig:
    """What every method has: its name in the register."""

    name: str


def register_method(cls: type) -> type:
    """Class decorator: makes `cls` known by its name, in any case."""
    _METHODS[cls.__name__.lower()] = cls
    return cls


def get_method(name: str | None) -> type[MethodConfig]:
    """The configuration class called `name`. Raises ValueError that says what to use instead."""
    check_known("method.name", name, tuple(method.__name__ for method in _METHODS.values()))
    return _METHODS[str(name).lower()]
