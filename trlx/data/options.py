"""An option of the configuration: default, help text, bounds, and whether it may change when a run goes on."""

import dataclasses
from typing import Any

from summarize_rlhf.run.values import check_bounds

REQUIRED = dataclasses.MISSING
BOUNDS = {"least", "most", "above", "below"}


def option(default: Any, help: str, **metadata: Any) -> Any:
    """Define a dataclass field with its help text (unit and scope), as `knob` does for stages 1 and 2.

    default: a value, a factory (`dict`, `list`), or REQUIRED.
    least, most: bounds of a number that are allowed themselves; above, below: bounds that are not.
    may_change: whether a resumed run may have another value, because this changes nothing that is computed, or rounding
    alone.
    """
    kind = "default_factory" if callable(default) else "default"
    return dataclasses.field(**{kind: default}, metadata={"help": help, **metadata})


def check_options(section: str, config: Any) -> None:
    """Raise ValueError for an option of the dataclass `config` that is out of its bounds, by its dotted name."""
    for field in dataclasses.fields(config):
        if BOUNDS & field.metadata.keys():
            check_bounds(f"{section}.{field.name}", getattr(config, field.name), field.metadata)
