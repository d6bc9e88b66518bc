"""Trainers and pipelines of a script's own, under names that `train.trainer` and `train.pipeline` then take."""

from collections.abc import Callable
from typing import Any

TRAINERS: dict[str, type] = {}
PIPELINES: dict[str, type] = {}


def register(table: dict[str, type], base: str, name: type | str) -> Any:
    """Add a class to a table, by its own name or the one given: `@register_trainer`, `@register_trainer("mine")`.

    Raises TypeError unless the class is a subclass of the one named `base`, on which the engine relies.
    """

    def add(kind: type, called: str | None = None) -> type:
        if not isinstance(kind, type) or base not in [parent.__name__ for parent in kind.__mro__]:
            raise TypeError(f"{kind!r} cannot be registered: it should be a subclass of {base}.")
        table[(called or kind.__name__).lower()] = kind
        return kind

    if isinstance(name, str):
        return lambda kind: add(kind, name)
    return add(name)


def find(table: dict[str, type], name: str, default: type) -> type:
    """Return the class of a name; the engine's own where nobody registered another."""
    return table.get(name.lower(), default)


def register_trainer(name: type | str) -> type | Callable[[type], type]:
    """Register a subclass of `AcceleratePPOTrainer` for `train.trainer`."""
    return register(TRAINERS, "AcceleratePPOTrainer", name)


def register_datapipeline(name: type | str) -> type | Callable[[type], type]:
    """Register a subclass of `PromptPipeline` for `train.pipeline`."""
    return register(PIPELINES, "PromptPipeline", name)
