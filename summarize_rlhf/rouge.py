"""ROUGE as in the published tables: F-measures without stemming, averaged over rows."""

from collections.abc import Sequence

import datasets
import evaluate
from rouge_score.rouge_scorer import RougeScorer

KINDS = ("rouge1", "rouge2", "rougeL")
ALL_KINDS = (*KINDS, "rougeLsum")  # the last line by line: as rougeL where neither text has several lines


class Rouge(evaluate.Metric):
    """``evaluate``'s "rouge" metric without the Hub, with the plain mean instead of a bootstrap median."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="ROUGE-1, -2 and -L F-measures, and their average",
            citation="Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        rows = rouge_rows(predictions, references)
        return {kind: sum(row[kind] for row in rows) / len(rows) for kind in rows[0]}


def rouge_rows(
    predictions: Sequence[str], references: Sequence[str], kinds: Sequence[str] = KINDS
) -> list[dict[str, float]]:
    """Return one row per pair: each of `kinds` in [0, 1], and ``rougeAvg``, the mean of ``rouge1``, ``2`` and ``L``."""
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but {len(references)} references")
    scorer = RougeScorer(list(kinds), use_stemmer=False)
    rows = []
    for prediction, reference in zip(predictions, references, strict=True):
        scores = scorer.score(target=reference, prediction=prediction)
        row = {kind: scores[kind].fmeasure for kind in kinds}
        rows.append(row | {"rougeAvg": sum(row[kind] for kind in KINDS) / len(KINDS)})
    return rows


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return the means over the pairs of ``rouge1``, ``rouge2``, ``rougeL`` (F-measure, 0 to 1) and ``rougeAvg``."""
    return Rouge(keep_in_memory=True).compute(predictions=list(predictions), references=list(references))
