"""Numbers out of files that others wrote, and how the pages write them."""

import math
from typing import Any

PERCENT = "\u00a0%"  # on the number's line
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


def parts(record: Any, name: str) -> dict[str, Any]:
    """Return a section of a record, empty where it is missing or no section."""
    section = record.get(name) if isinstance(record, dict) else None
    return section if isinstance(section, dict) else {}


def rows(record: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects in a list of a record, none where it is missing or no list."""
    found = record.get(name) if isinstance(record, dict) else None
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def written(value: float | None, form: str = "plain") -> str:
    """Write a number for people: "signed" +1.20, "share" 0.412, "percent" 71 %, "points" 7, "plain" 26.4, 1,204.

    What is missing is a dash.

    >>> written(0.714, "percent"), written(-0.5, "signed"), written(1204), written(1e-5), written(None)
    ('71.4\xa0%', '−0.50', '1,204', '1e−05', '–')
    """
    if value is None:
        return "–"
    if form == "percent":
        text = f"{100 * value:.1f}{PERCENT}"
    elif form == "points":
        text = f"{100 * value:.0f}"
    elif form == "signed":
        text = f"{value:+.2f}"
    elif form == "share":
        text = f"{value:.3f}"
    elif isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        text = f"{int(value):,}"
    else:
        text = f"{value:.2f}" if 0.1 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−")


def interval(found: Estimate | None, form: str = "plain") -> str:
    """Write the bounds of an estimate, "1.20 to 1.80"; nothing where they are not known."""
    if found is None or found.get("low") is None or found.get("high") is None:
        return ""
    low, high = (written(found[name], form).removesuffix(PERCENT) for name in ("low", "high"))
    return f"{low} to {high}{PERCENT if form == 'percent' else ''}"


def with_interval(found: Estimate | None, form: str = "plain") -> str:
    """Write an estimate and its bounds: "1.50 (1.20 to 1.80)"."""
    bounds = interval(found, form)
    return written(found and found["value"], form) + (f" ({bounds})" if bounds else "")
