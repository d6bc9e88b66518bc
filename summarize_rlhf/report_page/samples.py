"""Which posts the page shows: the worst and best changes in reward, random ones, and where reward and gold part."""

import random

import numpy as np

from summarize_rlhf.records import at, parts
from summarize_rlhf.report_page.material import Material
from summarize_rlhf.report_page.numbers import Record, number, objects
from summarize_rlhf.report_page.verdict import leading

EACH = 10  # posts of a view
MOST = 300  # posts on the page, for the search
SEED = 0  # of the random ones


def browse(found: Material) -> Record | None:
    """Return the posts to show, each with its `views`, and how many there are in all; None without samples.

    The change is that of the leading comparison's first model over its second. A judge stands in for gold.
    """
    rows = [row for row in found.samples if isinstance(row.get("prompt"), str)]
    models = [name for name, given in objects(rows[0]).items() if "text" in given] if rows else []
    if not models:
        return None
    compared = leading(found.evaluation) or {"first": models[-1], "second": models[0]}
    first, second = compared["first"], compared["second"]
    changes = [change(row, first, second, "reward") for row in rows]
    views = choose(changes, [change(row, first, second, "gold", "judge") for row in rows])
    shown = dict.fromkeys([*(i for chosen in views.values() for i in chosen), *range(len(rows))])
    texts = [
        {
            "post": rows[i].get("post", i),
            "views": [name for name, chosen in views.items() if i in chosen],
            "change": changes[i],
            "prompt": rows[i]["prompt"],
            "texts": {name: parts(rows[i], name) for name in models if name in rows[i]},
        }
        for i in list(shown)[:MOST]
    ]
    views = [name for name, chosen in views.items() if chosen]
    return {"posts": len(rows), "first": first, "second": second, "views": views, "rows": texts}


def choose(changes: list[float | None], gold: list[float | None]) -> dict[str, list[int]]:
    """Return the rows of each view. Reward and gold disagree by the distance of their changes' z-scores."""
    known = [i for i, change in enumerate(changes) if change is not None]
    ranked = sorted(known, key=lambda i: changes[i])
    both = [i for i in known if gold[i] is not None]
    rewards, golds = (z_scores([values[i] for i in both]) for values in (changes, gold))
    apart = np.argsort(-abs(rewards - golds), kind="stable")
    return {
        "random": sorted(random.Random(SEED).sample(range(len(changes)), min(EACH, len(changes)))),
        "best": ranked[::-1][:EACH],
        "worst": ranked[:EACH],
        "parted": [both[k] for k in apart[:EACH]],
    }


def z_scores(values: list[float]) -> np.ndarray:
    """Return the values less their mean, in standard deviations."""
    x = np.asarray(values, dtype=np.float64)
    return (x - x.mean()) / (x.std() or 1.0) if len(x) else x


def change(row: Record, first: str, second: str, *names: str) -> float | None:
    """Return a figure of the first model less the second's: of `names` the first that both have, None without."""
    pairs = ([number(at(row, model, name)) for model in (first, second)] for name in names)
    return next((ours - theirs for ours, theirs in pairs if None not in (ours, theirs)), None)
