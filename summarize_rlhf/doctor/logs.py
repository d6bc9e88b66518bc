"""Read what a stage logs as figures: its own, torn, or somebody else's."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from summarize_rlhf.records import read_lines

NORMS = ("grad_norm", "policy/gradient_norm")  # of gradients, by stages 1 and 2 and by stage 3


class Log(NamedTuple):
    """What there is to say of a stage's log as a whole."""

    empty: bool = False  # no such file, or no figure in it
    not_finite: str | None = None  # "loss is nan at step 40"


def dotted(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {"method": {"target": 6}} as {"method.target": 6}; and what `gen_kwargs` holds one level deeper."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def read_metrics(path: Path) -> tuple[list[dict[str, float]], Log]:
    """Return the finite figures of each line of a log, and what is to be said of it as a whole.

    Norms of gradients are no such figure: in fp16 the loss scaler finds its scale by steps whose gradients overflow.
    """
    rows, not_finite = [], None
    for row in read_lines(path):
        figures = {name: x for name, x in row.items() if isinstance(x, float | int) and not isinstance(x, bool)}
        rows.append({name: x for name, x in figures.items() if math.isfinite(x)})
        bad = [name for name in figures if name not in rows[-1] and name not in NORMS]
        if bad and not_finite is None:
            not_finite = f"{bad[0]} is {figures[bad[0]]} at step {row.get('step')}"
    return rows, Log(not any(rows), not_finite)
