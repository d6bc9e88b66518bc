"""Figures out of files that others wrote, and how the pages write them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from summarize_rlhf.records import at, parts

PERCENT = "\u00a0%"  # on the number's line
FORMS = {"percent": (100, ".1f"), "points": (100, ".0f"), "signed": (1, "+.2f"), "share": (1, ".3f")}  # times, digits
Record = dict[str, Any]
Estimate = dict[str, float | None]


def number(value: Any) -> float | int | None:
    """Return a finite number, None for whatever else a file has there."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return value if plain and math.isfinite(value) else None


def estimate(value: Any) -> Estimate | None:
    """Return {"value", "low", "high"}; the bounds are None where they are not known. None without a value."""
    given = value if isinstance(value, dict) else {"value": value}
    found = {name: number(given.get(name)) for name in ("value", "low", "high")}
    return None if found["value"] is None else found


def objects(record: Any, *path: str) -> dict[str, Record]:
    """Return the objects in a section of a record, by name."""
    return {name: value for name, value in parts(record, *path).items() if isinstance(value, dict)}


def rows(record: Any, *path: str) -> list[Record]:
    """Return the objects in a list of a record, none where there is no list."""
    found = at(record, *path)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def table(measures: Sequence[tuple[str, str, Sequence[str]]], columns: Iterable[Record]) -> list[Record]:
    """Return `title`, `form` and the columns' estimates (`cells`) of each measure (title, form, path) that one has."""
    found = [
        {"title": title, "form": form, "cells": [estimate(at(column, *path)) for column in columns]}
        for title, form, path in measures
    ]
    return [row for row in found if any(row["cells"])]


def reach(estimates: Iterable[Estimate]) -> float:
    """Return how far from 0 estimates and their bounds come, for bars on one scale."""
    return max((abs(x) for found in estimates for x in found.values() if x is not None), default=0) or 1


def written(value: Any, form: str = "plain") -> str:
    """Write a number for people: "signed" +1.20, "share" 0.412, "percent" 71.4 %, "points" 7, "plain" 26.4, 1,204.

    What is no number is a dash.

    >>> written(0.714, "percent"), written(-0.5, "signed"), written(1204), written(1e-5), written(None)
    ('71.4\xa0%', '−0.50', '1,204', '1e−05', '–')
    """
    value = number(value)
    if value is None:
        return "–"
    if form in FORMS:
        times, digits = FORMS[form]
        text = f"{times * value:{digits}}{PERCENT if form == 'percent' else ''}"
    elif isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        text = f"{int(value):,}"
    else:
        text = f"{value:.2f}" if 0.1 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−")


def interval(value: Any, form: str = "plain") -> str:
    """Write the bounds of an estimate, "1.20 to 1.80"; nothing where they are not known."""
    found = estimate(value)
    if found is None or None in found.values():
        return ""
    return f"{written(found['low'], form).removesuffix(PERCENT)} to {written(found['high'], form)}"


def with_interval(value: Any, form: str = "plain") -> str:
    """Write an estimate and its bounds: "1.50 (1.20 to 1.80)"."""
    bounds = interval(value, form)
    return written(at(estimate(value), "value"), form) + (f" ({bounds})" if bounds else "")
