"""What a run shows at its end: tables, samples, intervals."""

import random
import textwrap
from collections.abc import Sequence


def format_table(rows: Sequence[dict[str, object]]) -> str:
    """Rows as a Markdown table with the first row's keys as its head; floats to three places, the rest as it is."""
    head = list(rows[0])
    cells = [[f"{row[key]:.3f}" if isinstance(row[key], float) else str(row[key]) for key in head] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [head, ["-" * width for width in widths], *cells]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def print_samples(samples: Sequence[dict[str, str]], width: int = 100) -> None:
    """Print each sample's fields, long ones wrapped and a post's beginning left out, for a look at what was learnt."""
    for number, sample in enumerate(samples, 1):
        print(f"\n── sample {number} " + "─" * (width - 12))
        for name, text in sample.items():
            shown = textwrap.wrap(text, width - 12) or [""]
            if len(shown) > 5:
                shown = ["…", *shown[-4:]]
            for label, line in zip([name, "", "", "", ""], shown, strict=False):
                print(f"{label:<11} {line}")


def paired_bootstrap(
    ours: Sequence[float], theirs: Sequence[float], samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> dict[str, float]:
    """The mean of ``ours - theirs`` over rows, and its percentile interval when rows are drawn anew.

    Keys ``mean``, ``low``, ``high``. Row by row the two must belong together (Efron and Tibshirani 1993, section 13.3).
    """
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(differences, k=len(differences))) / len(differences) for _ in range(samples))
    tail = (1 - confidence) / 2
    return {
        "mean": sum(differences) / len(differences),
        "low": means[round(tail * (samples - 1))],
        "high": means[round((1 - tail) * (samples - 1))],
    }
