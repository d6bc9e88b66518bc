"""A judge in the reward model's place: asked in both orders, checked on pairs that were judged before.

A judge is a function of a post and two summaries: 1 where the first is better, 0 where the second is, ½ for a tie.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from summarize_rlhf import UserError
from summarize_rlhf.evaluation.estimates import Estimate, bootstrapped
from summarize_rlhf.evaluation.record import compare

Judge = Callable[[str, str, str], float]
Question = tuple[str, str, str]  # post, the summary shown first, the one shown second


def ask(name: str, judge: Judge, question: Question, answers: MutableMapping[Question, float]) -> float:
    """Return the judge's answer in [0, 1], from `answers` where it is known; a new one is put there.

    Raises `UserError` that names the judge where it raises, or answers something else.
    """
    if question not in answers:
        try:
            answer = float(judge(*question))
        except (Exception, SystemExit) as error:
            raise UserError(f"the judge {name} failed: {type(error).__name__}: {error}") from error
        if not 0 <= answer <= 1:
            raise UserError(f"the judge {name} answered {answer}: 1, 0 or ½ is expected, or a number between")
        answers[question] = answer
    return answers[question]


def preference(
    name: str, judge: Judge, post: str, first: str, second: str, answers: MutableMapping[Question, float]
) -> tuple[float, bool]:
    """Return how far the judge prefers `first`, in [0, 1], and whether it says the same in both orders.

    The mean of both orders: a judge that always takes the one it reads first prefers neither (Zheng et al. 2023, arXiv
    2306.05685).
    """
    here, there = (ask(name, judge, (post, *pair), answers) for pair in ((first, second), (second, first)))
    return (here + 1 - there) / 2, bool(np.sign(here - 0.5) == -np.sign(there - 0.5))


def kappa(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Estimate Cohen's κ between two lists of preferences (N,): above ½, below ½ and ½ are the three verdicts.

        κ = (agreement − chance) / (1 − chance)          chance: Σ_verdict share of ours · share of theirs

    (Cohen 1960.) 1 is agreement throughout, 0 that of chance; where chance alone agrees throughout, κ is 0.
    """
    a, b = (np.sign(np.asarray(x, dtype=np.float64) - 0.5) for x in (ours, theirs))
    verdicts = np.array([-1, 0, 1])[:, None]
    one, other = a == verdicts, b == verdicts  # (3, N)

    def of(drawn: np.ndarray) -> np.ndarray:
        agreed = (a == b)[drawn].mean(-1)
        chance = (one[:, drawn].mean(-1) * other[:, drawn].mean(-1)).sum(0)
        return np.divide(agreed - chance, 1 - chance, out=np.zeros_like(agreed), where=chance < 1)

    return bootstrapped(len(a), of)


def agreement(name: str, judge: Judge, pairs: Sequence[Mapping[str, str]]) -> Estimate:
    """Estimate the judge's agreement (κ) with pairs whose verdict is known, and its interval over pairs.

    Each pair has `prompt`, `chosen` and `rejected`; every second one is shown to it the other way round, else one side
    would always be right. Nothing is taken from a cache: who answers under a name may have changed since.
    """
    ours, theirs = [], []
    for number, pair in enumerate(pairs):
        sides = [pair["chosen"], pair["rejected"]][:: -1 if number % 2 else 1]
        ours.append(preference(name, judge, pair["prompt"], *sides, {})[0])
        theirs.append(1.0 - number % 2)
    return kappa(ours, theirs)


def judged(
    name: str,
    judge: Judge,
    bodies: Sequence[str],
    texts: Mapping[str, Sequence[str]],
    opponents: Sequence[tuple[str, str]],
    answers: MutableMapping[Question, float],
) -> tuple[list[dict[str, Any]], float]:
    """Compare `texts` (N) of pairs of `opponents`; return the comparisons, and how often both orders agree, 0 to 1."""
    found, consistent = [], []
    for first, second in opponents:
        rows = [*zip(bodies, texts[first], texts[second], strict=True)]
        asked = [preference(name, judge, *row, answers) for row in rows]
        longer = [[len(ours) - len(theirs)] for _, ours, theirs in rows]
        outcomes = np.array([[won] for won, _ in asked])
        found.append(compare(first, second, outcomes, longer, None))
        consistent += [same for _, same in asked]
    return found, float(np.mean(consistent))
