"""How often the intervals of an evaluation hold a truth that is known, in made-up worlds.

    python tests/evaluation/made_up_worlds.py --out docs/results/evaluation/coverage.json

measures all of `WORLDS` in minutes; the tests run fewer, of some.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import expit

from summarize_rlhf import versions
from summarize_rlhf.evaluation.estimates import Estimate, mean, rate
from summarize_rlhf.evaluation.win_rates import length_controlled


class World(NamedTuple):
    """What is estimated in a world, and how its data are drawn."""

    figure: str
    posts: int
    data: str
    draw: Callable[[np.random.Generator], tuple]
    estimate: Callable[..., Estimate]
    truth: float


def normal(posts: int) -> World:
    return World("mean", posts, "normal", lambda rng: (rng.normal(0.3, 2.0, posts),), mean, 0.3)


def skewed(posts: int) -> World:
    return World("mean", posts, "gamma of shape 2", lambda rng: (rng.gamma(2.0, 1.0, posts),), mean, 2.0)


def clustered(posts: int, samples: int = 8) -> World:
    def draw(rng: np.random.Generator) -> tuple:
        return (rng.normal(size=(posts, 1)) + 0.3 * rng.normal(size=(posts, samples)),)

    return World("mean", posts, f"{samples} samples that agree by and large", draw, mean, 0.0)


def outcomes(rng, posts: int, theta: float, phi: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Wins under the length-controlled model, where summaries of the first are `shift` standard deviations longer."""
    longer = rng.normal(shift, 1.0, (posts, 1))
    chance = expit(theta + phi * np.tanh(longer / longer.std()))
    return (rng.random((posts, 1)) < chance).astype(float), longer


def length(posts: int) -> World:
    def draw(rng: np.random.Generator) -> tuple:
        return outcomes(rng, posts, 0.4, 1.5, 0.7)

    return World("length-controlled win rate", posts, "length matters", draw, length_controlled, expit(0.4).item())


WORLDS = (normal(40), skewed(40), clustered(40), length(40))


def simulated(world: World, times: int, **options: Any) -> float:
    """How often the interval holds the truth; `options` are the estimate's."""
    rng = np.random.default_rng([*(world.figure + world.data).encode()])  # each world has a stream of its own
    found = [world.estimate(*world.draw(rng), **options) for _ in range(times)]
    return sum(e["low"] <= world.truth <= e["high"] for e in found) / times


def of_rates(posts: int) -> float:
    """How often the interval of a win rate holds it: exact, in the mean over rates from 5 % to 95 %."""
    held = np.array([[e["low"], e["high"]] for e in (rate([1.0] * k + [0.0] * (posts - k)) for k in range(posts + 1))])
    shares = np.linspace(0.05, 0.95, 91)
    chances = [
        stats.binom.pmf(np.arange(posts + 1), posts, p) @ ((held[:, 0] <= p) & (p <= held[:, 1])) for p in shares
    ]
    return float(np.mean(chances))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--times", type=int, default=4000, help="intervals of each world")
    args = parser.parse_args()
    rows = []
    for world in WORLDS:
        held = simulated(world, args.times)
        rows.append({"figure": world.figure, "posts": world.posts, "data": world.data, "held": held})
        print(rows[-1], flush=True)
    for posts in (40, 200):
        rows.append(
            {"figure": "win rate", "posts": posts, "data": "rates of 5 to 95 %, exact", "held": of_rates(posts)}
        )
    found = {"times": args.times, "rows": rows, "commit": versions.commit(), "versions": versions.versions()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
