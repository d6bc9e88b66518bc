"""Which posts the page shows: the worst and best changes in reward, random ones, and where reward and gold part."""

import random
from typing import Any

import numpy as np

from summarize_rlhf.report_page.material import Material
from summarize_rlhf.report_page.numbers import number, parts
from summarize_rlhf.report_page.verdict import leading

EACH = 10  # posts of a view
MOST = 300  # posts on the page, for the search
SEED = 0  # of the random ones
VIEWS = {
    "random": "Random",
    "best": "Reward rose most",
    "worst": "Reward fell most",
    "parted": "Reward and gold disagree",
}


def browse(found: Material) -> dict[str, Any] | None:
    """Return the posts to show, each with its `views`, and how many there are in all; None without samples.

    The change is that of the leading comparison's first model over its second.
    """
    rows = [row for row in found.samples if isinstance(row.get("prompt"), str)]
    if not rows:
        return None
    models = [name for name, value in rows[0].items() if isinstance(value, dict) and "text" in value]
    row = leading(found.evaluation or {}) or {"first": models[-1], "second": models[0]}
    first, second = row["first"], row["second"]
    changes = [difference(row, first, second, "reward") for row in rows]
    views = choose(changes, [judged(row, first, second) for row in rows])
    shown = list(dict.fromkeys(i for chosen in views.values() for i in chosen))
    shown += [i for i in range(len(rows)) if i not in set(shown)][: max(0, MOST - len(shown))]
    return {
        "posts": len(rows),
        "first": first,
        "second": second,
        "views": {name: {"title": VIEWS[name], "posts": len(chosen)} for name, chosen in views.items() if chosen},
        "rows": [
            {
                "post": rows[i].get("post", i),
                "views": [name for name, chosen in views.items() if i in chosen],
                "change": changes[i],
                "prompt": rows[i]["prompt"],
                "texts": {name: text_of(rows[i], name) for name in models if name in rows[i]},
            }
            for i in shown
        ],
    }


def choose(changes: list[float | None], gold: list[float | None]) -> dict[str, list[int]]:
    """Return the rows of each view. Disagreement is the distance of two changes, each in its standard deviations."""
    known = [i for i, change in enumerate(changes) if change is not None]
    ranked = sorted(known, key=lambda i: changes[i])
    both = [i for i in known if gold[i] is not None]
    rewards, golds = standard([changes[i] for i in both]), standard([gold[i] for i in both])
    apart = sorted(range(len(both)), key=lambda k: -abs(rewards[k] - golds[k]))
    return {
        "random": sorted(random.Random(SEED).sample(range(len(changes)), min(EACH, len(changes)))),
        "best": ranked[::-1][:EACH],
        "worst": ranked[:EACH],
        "parted": [both[k] for k in apart[:EACH]],
    }


def standard(values: list[float]) -> np.ndarray:
    """Return the values less their mean, in standard deviations."""
    x = np.asarray(values, dtype=np.float64)
    return (x - x.mean()) / (x.std() or 1.0) if len(x) else x


def difference(row: dict[str, Any], first: str, second: str, name: str) -> float | None:
    ours, theirs = (number(parts(row, model).get(name)) for model in (first, second))
    return None if ours is None or theirs is None else ours - theirs


def judged(row: dict[str, Any], first: str, second: str) -> float | None:
    """Return the change in gold, or in what a judge says where there is no gold."""
    gold = difference(row, first, second, "gold")
    return difference(row, first, second, "judge") if gold is None else gold


def text_of(row: dict[str, Any], model: str) -> dict[str, Any]:
    given = parts(row, model)
    figures = {name: number(given.get(name)) for name in ("reward", "gold", "tokens")}
    return {"text": str(given.get("text", "")), **figures, "ended": given.get("ended")}
