"""A stage's arguments: flags, or one JSON or YAML file of them.

All that is known about an argument stands at its knob: default, help, bounds, and whether a resumed run may change it.
"""

import argparse
import dataclasses
import difflib
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING as MISSING
from pathlib import Path
from typing import Any, TypeVar

from transformers import HfArgumentParser

from summarize_rlhf import UserError
from summarize_rlhf.reading import reading
from summarize_rlhf.run.presets import read_preset
from summarize_rlhf.run.values import check_bounds, check_given

T = TypeVar("T")
FILES = (".json", ".yaml", ".yml")
NOT_FOR_ARGPARSE = ("may_change", "least", "most", "above", "below")


def knob(default: Any, help: str, *, may_change: bool | Callable[[Any], bool] = False, **metadata: Any) -> Any:
    """Define a dataclass field with its help text (unit and scope). A `default` of `MISSING` makes it required.

    may_change: whether a resumed run may have another value, because this changes nothing that is computed, or rounding
        alone. A function is asked with all arguments, where that depends on others.
    choices: what it may be.
    least, most: bounds of a number that are allowed themselves; above, below: bounds that are not.
    """
    return dataclasses.field(default=default, metadata={"help": help, "may_change": may_change, **metadata})


def names_that_may_change(arguments: Any) -> set[str]:
    """Return the names of those `arguments` (a dataclass of knobs) that a resumed run may change."""
    names = set()
    for field in dataclasses.fields(arguments):
        answer = field.metadata.get("may_change", False)
        if answer(arguments) if callable(answer) else answer:
            names.add(field.name)
    return names


class _Parser(HfArgumentParser):
    """Hand argparse only the metadata that it knows."""

    def add_argument(self, *names: str, **options: Any):
        return super().add_argument(*names, **{key: x for key, x in options.items() if key not in NOT_FOR_ARGPARSE})


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keep the lines of `about`."""


def parse_arguments(
    kind: type[T], argv: list[str] | None = None, about: str | None = None, stage: str | None = None
) -> T:
    """Fill the dataclass `kind` from the command line: `--name value` flags, behind a `.json` or `.yaml` file or not.

    A flag beats the file. With a `stage`, what its `--preset` sets comes before the defaults, and what is given before
    both. The launcher's `--local_rank` is skipped: the environment says the same. Raises `UserError` for an unknown
    name, with the nearest known one, for a number out of bounds, for an unreadable file, and what a `check` of `kind`
    raises, if it has one; argparse itself reports a flag of the wrong type.
    `about` stands above the arguments in `--help`.
    """
    argv = [word for word in (sys.argv[1:] if argv is None else argv) if not word.startswith("--local_rank")]
    parser = _Parser(kind, allow_abbrev=False, description=about, formatter_class=_Help)
    fields = [field.name for field in dataclasses.fields(kind)]
    if argv and Path(argv[0]).suffix in FILES:
        argv = [*_flags_in(Path(argv[0]), kind), *argv[1:]]
    parsed, rest = parser.parse_args_into_dataclasses(argv, look_for_args_file=False, return_remaining_strings=True)
    if rest and Path(rest[0]).suffix in FILES:
        raise UserError(f"{rest[0]}: a file of arguments comes first, before the flags, which beat it")
    if rest:
        raise UserError(f"unknown argument {rest[0]}{_nearest(rest[0].lstrip('-'), fields, '--')}")
    if stage is not None:  # of one flag given twice the later counts
        argv = [*as_flags(read_preset(stage, parsed.preset)), *argv]
        parsed = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)[0]
    _within_bounds(parsed)
    if hasattr(parsed, "check"):
        parsed.check()
    return parsed


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """Write names and values as flags, so that one set of rules reads them; None is what a flag cannot say."""
    flags: list[str] = []
    for name, value in values.items():
        if isinstance(value, list):
            flags += [f"--{name}", *map(str, value)]
        elif value is not None:
            flags.append(f"--{name}={value}")
    return flags


def _flags_in(file: Path, kind: type) -> list[str]:
    fields = [field.name for field in dataclasses.fields(kind)]
    lists = {field.name for field in dataclasses.fields(kind) if "list" in str(field.type)}
    import yaml  # JSON is YAML, as far as a flat file of arguments goes

    with reading(file, "arguments in", "is it JSON or YAML?"):
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict):
        raise UserError(f"{file} should hold names and values of arguments, but is {type(content).__name__}")
    for name in content:
        if name not in fields:
            raise UserError(f"{file}: unknown argument {name!r}{_nearest(str(name), fields)}")
        value = content[name]
        several = name in lists and isinstance(value, list) and value
        if isinstance(value, list | dict) and not several:
            wanted = "a list of one value or more" if name in lists else "one value"
            raise UserError(f"{file}: {name} should be {wanted}, but is {value!r}")
    return as_flags(content)


def _within_bounds(arguments: Any) -> None:
    for field in dataclasses.fields(arguments):
        given = getattr(arguments, field.name)
        try:
            for value in given if isinstance(given, list) else [given]:
                if isinstance(value, int | float):
                    check_bounds(f"--{field.name}", value, field.metadata)
                elif isinstance(value, str):
                    check_given(f"--{field.name}", value)
        except ValueError as error:
            raise UserError(str(error)) from None


def _nearest(name: str, names: list[str], prefix: str = "") -> str:
    found = difflib.get_close_matches(name.split("=")[0], names, n=1)
    return f"; did you mean {prefix}{found[0]}?" if found else "; see --help"
