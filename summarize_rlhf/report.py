"""Tables and samples, shown at the end of a run."""

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from summarize_rlhf.reading import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a cell that begins so


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows, of which each has the columns of the first, as the text of a CSV file.

    A text that a spreadsheet would take for a formula gets an apostrophe in front; `from_cell` takes it off again.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows({name: _to_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _to_cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(FORMULA) else value


def from_cell(cell: str) -> str:
    """Return the text that `as_csv` made a cell of."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA) else cell


def format_table(rows: Sequence[dict[str, object]]) -> str:
    """Format rows as a Markdown table headed by the first row's keys; floats to three places, the rest as it is."""
    head = list(rows[0])
    cells = [[f"{row[key]:.3f}" if isinstance(row[key], float) else str(row[key]) for key in head] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [head, ["-" * width for width in widths], *cells]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def print_samples(samples: Sequence[dict[str, str]], width: int = 100) -> None:
    """Print each sample's fields, long ones wrapped and without a long post's beginning."""
    for number, sample in enumerate(samples, 1):
        print(f"\n── sample {number} " + "─" * (width - 12))
        for name, text in sample.items():
            shown = textwrap.wrap(printable(" ".join(text.split())), width - 12) or [""]
            if len(shown) > 5:
                shown = ["…", *shown[-4:]]
            for label, line in zip([name, "", "", "", ""], shown, strict=False):
                print(f"{label:<11} {line}")
