"""What goes along with preferences: rules, accuracy by bins, correlations within pairs, spread within posts."""

import itertools

import numpy as np
import pytest

from summarize_rlhf.evaluation.preferences import (
    accuracy_by,
    rule_accuracy,
    within_pair_correlation,
    within_post_spread,
)


def test_a_rules_tie_is_half_right() -> None:
    assert rule_accuracy([3, 2, 5, 1], [1, 2, 9, 0]) == pytest.approx(2.5 / 4)


def test_bins_part_at_the_quantiles() -> None:
    values = [8, 1, 7, 2, 6, 3, 5, 4]
    right = [True, False, True, False, True, True, False, False]
    assert accuracy_by(values, right) == [
        {"low": 1, "high": 2, "pairs": 2, "accuracy": 0.0},
        {"low": 3, "high": 4, "pairs": 2, "accuracy": 0.5},
        {"low": 5, "high": 6, "pairs": 2, "accuracy": 0.5},
        {"low": 7, "high": 8, "pairs": 2, "accuracy": 1.0},
    ]


def test_bins_of_six_end_at_values_that_are_there() -> None:
    assert [b["pairs"] for b in accuracy_by([1, 2, 3, 4, 5, 6], [True] * 6)] == [2, 1, 2, 1]


@pytest.mark.parametrize("values", [[0] * 9, [0] * 8 + [1], [-3.5, 0, 0, 0, 0, 0, 0, 0, 2], [1.0]])
def test_equal_values_stay_together_and_all_pairs_are_counted(values) -> None:
    found = accuracy_by(values, [True] * len(values))
    assert sum(b["pairs"] for b in found) == len(values)
    assert all(one["high"] < other["low"] for one, other in itertools.pairwise(found))
    assert [b["accuracy"] for b in found] == [1.0] * len(found)


def test_correlation_is_that_of_all_summaries_less_their_pairs_mean() -> None:
    """Against numpy on 2N numbers, between whose posts there is ten times more; exchanging a pair changes nothing."""
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(50, 2)) + 10 * rng.normal(size=(50, 1))
    scores = 0.5 * feature + rng.normal(size=(50, 2)) + 10 * rng.normal(size=(50, 1))
    centred = [(x - x.mean(1, keepdims=True)).ravel() for x in (scores, feature)]
    expected = np.corrcoef(*centred)[0, 1]
    d, f = scores[:, 0] - scores[:, 1], feature[:, 0] - feature[:, 1]
    assert within_pair_correlation(d, f) == pytest.approx(expected)
    signs = rng.choice([-1, 1], 50)
    assert within_pair_correlation(d * signs, f * signs) == pytest.approx(expected)


def test_correlation_of_what_goes_along_and_of_what_never_differs() -> None:
    assert within_pair_correlation([1, -2, 3], [2, -4, 6]) == pytest.approx(1)
    assert within_pair_correlation([1, 1, 1], [-2, -2, -2]) == pytest.approx(-1)  # always the shorter one
    assert within_pair_correlation([1, 2], [0, 0]) is None
    assert within_pair_correlation([], []) is None


def test_spread_is_the_mean_of_the_posts_own() -> None:
    """1, 3 has √2; 100, 100 has 0: how far posts lie apart does not enter."""
    assert within_post_spread([[1, 3], [100, 100]]) == pytest.approx(np.sqrt(2) / 2)
