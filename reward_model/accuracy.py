"""The accuracy of a reward model on N pairs of summaries, for the evaluations in training and for the reward test.

`chosen` and `rejected` are the scores of the pairs' texts: tensors or arrays (N,).
"""

from typing import Any


def prefers_chosen(chosen: Any, rejected: Any) -> Any:
    """Return for each pair whether the chosen text scores higher (N,). A tie is no preference."""
    return chosen > rejected


def score_figures(chosen: Any, rejected: Any) -> dict[str, float]:
    """Return the share of pairs whose chosen text scores higher, both mean scores and their mean difference."""
    return {
        "accuracy": int(prefers_chosen(chosen, rejected).sum()) / len(chosen),
        "chosen": float(chosen.mean()),
        "rejected": float(rejected.mean()),
        "margin": float((chosen - rejected).mean()),
    }
