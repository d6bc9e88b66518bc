"""Arguments in trlX's way: one JSON object of dotted names, or a file of them."""

import argparse
import dataclasses
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from summarize_rlhf import UserError
from summarize_rlhf.reading import reading
from summarize_rlhf.run.presets import HELP, NAMES, read_preset


def parse_overrides(
    doc: str, sections: Mapping[str, Any], argv: list[str] | None = None, stage: str | None = None
) -> dict[str, Any]:
    """Parse the overrides on the command line, flat by dotted name.

    sections: one dataclass per first part of a name. `--help` shows `doc` and every option with its help text and
    default.
    The argument is a JSON object, or a JSON or YAML file of one; nested objects are the same as dotted names. `--fresh`
    stands for `{"train.resume_from_checkpoint": "fresh"}`. With a `stage`, what its `--preset` sets comes first. Raises
    UserError for anything else. The configuration checks the names.
    """
    parser = argparse.ArgumentParser(
        description=doc,
        epilog="\n".join(["names and defaults:", *_described(sections)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fresh", action="store_true", help="start over instead of going on from the last checkpoint")
    parser.add_argument(
        "overrides", nargs="?", default="{}", help="a JSON object of dotted names, or a .json or .yaml file of one"
    )
    if stage is not None:
        parser.add_argument("--preset", choices=NAMES, default=NAMES[0], help=HELP)
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        _refuse(rest[0], sections)
    preset = {} if stage is None else read_preset(stage, arguments.preset)
    given = read_overrides(arguments.overrides)
    fresh = {"train.resume_from_checkpoint": "fresh"} if arguments.fresh else {}
    return _without_replaced(preset, given, sections) | given | fresh


def read_overrides(argument: str) -> dict[str, Any]:
    """Read a JSON object, or a JSON or YAML file of one; return it flat, by dotted name. Raises `UserError`."""
    parse = yaml.safe_load if Path(argument).suffix in (".yaml", ".yml") else json.loads
    if Path(argument).suffix in (".json", ".yaml", ".yml"):
        with reading(argument, "overrides in"):
            argument = Path(argument).read_text(encoding="utf-8-sig")
    with reading(textwrap.shorten(argument, 200), "overrides", "they should be valid JSON"):
        overrides = parse(argument)
    if not isinstance(overrides, dict):
        shown = textwrap.shorten(argument, 200)
        raise UserError(f"""the overrides should be an object like '{{"train.batch_size": 8}}', not {shown!r}""")
    return {name: _number(value) for name, value in flatten(overrides).items()}


def _refuse(word: str, sections: Mapping[str, Any]) -> NoReturn:
    """Raise UserError for a word that is no flag; where an option ends like it, say how that is given."""
    name = word.lstrip("-").partition("=")[0]
    known = (
        f"{section}.{field.name}" for section, options in sections.items() for field in dataclasses.fields(options)
    )
    meant = next((option for option in known if option.partition(".")[2] == name), None)
    hint = f": give '{{\"{meant}\": …}}'" if meant else "; see --help"
    raise UserError(f"unknown argument {word}{hint}")


def _without_replaced(preset: Mapping[str, Any], given: Mapping[str, Any], sections: Mapping[str, Any]) -> dict:
    """Return a preset without the arguments (`kwargs`) of a class in whose place another one is `given`."""
    replaced = []
    for section in {name.partition(".")[0] for name in preset if ".kwargs." in name}:
        name = preset.get(f"{section}.name", sections[section].name)
        if given.get(f"{section}.name", name) != name:
            replaced.append(f"{section}.kwargs.")
    return {name: value for name, value in preset.items() if not name.startswith(tuple(replaced))}


def _described(sections: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line with name and default for each option, and its help text below."""
    for section, options in sections.items():
        for field in dataclasses.fields(options):
            for name, value in flatten({f"{section}.{field.name}": getattr(options, field.name)}).items():
                yield f"  {name} = {json.dumps(value, default=str)}"
            if "help" in field.metadata:
                yield textwrap.fill(field.metadata["help"], 100, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _number(value: Any) -> Any:
    """Convert text such as 2e-4, which YAML does not take for a number without a dot, as JSON does."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", value) else value


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten {"train": {"batch_size": 8}} to {"train.batch_size": 8}; an empty object stays a value."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
