"""ROUGE against numbers worked out by hand."""

import pytest

from summarize_rlhf.rouge import rouge, rouge_rows


def test_by_hand():
    # unigrams: 3 of 4 predicted and 3 of 3 wanted -> F = 2·(3/4)·1 / (3/4 + 1) = 6/7
    # bigrams: "the cat" of 3 predicted and 2 wanted -> P 1/3, R 1/2, F 2/5; longest common subsequence: 3 as unigrams
    row = rouge_rows(["the cat has moved"], ["the cat moved"])[0]
    assert row["rouge1"] == pytest.approx(6 / 7)
    assert row["rouge2"] == pytest.approx(2 / 5)
    assert row["rougeL"] == pytest.approx(6 / 7)
    assert row["rougeAvg"] == pytest.approx((6 / 7 + 2 / 5 + 6 / 7) / 3)


def test_order_matters_to_rouge_l_only():
    row = rouge_rows(["moved cat the"], ["the cat moved"])[0]
    assert row["rouge1"] == 1
    assert row["rouge2"] == 0
    assert row["rougeL"] == pytest.approx(1 / 3)


def test_no_stemmer():
    assert rouge_rows(["moving"], ["moved"])[0]["rouge1"] == 0


def test_the_mean_over_rows():
    scores = rouge(["a b", "x"], ["a b", "y"])
    assert scores == {"rouge1": 0.5, "rouge2": 0.5, "rougeL": 0.5, "rougeAvg": 0.5}
    assert rouge(["", "a b"], ["a", "a b"])["rouge1"] == 0.5  # an empty summary counts, as zero


def test_the_published_averages():
    """The published table's fourth column is the mean of its three others."""
    for one, two, three, average in ((0.334, 0.125, 0.261, 0.240), (0.323, 0.109, 0.238, 0.223)):
        assert (one + two + three) / 3 == pytest.approx(average, abs=5e-4)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="2 predictions, but 1 references"):
        rouge_rows(["a", "b"], ["a"])
