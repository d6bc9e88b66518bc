"""The share of a summary's 4-grams that stand in its post, by hand."""

import pytest

from summarize_rlhf.evaluation.copying import copied_share, source_position

POST = "My cat moved to the house and my sister lost it."


@pytest.mark.parametrize(
    ("summary", "share"),
    [
        ("cat moved to the", 1.0),
        ("CAT Moved\n to  the", 1.0),  # neither case nor blanks matter
        ("cat moved to the train", 1 / 2),
        ("the cat moved to the house again", 2 / 4),
        ("cat moved to the cat moved to the", 2 / 5),  # twice counts twice
        ("moved cat the to", 0.0),
        ("cat moved to", 0.0),  # three words: no 4-gram
        ("", 0.0),
    ],
)
def test_by_hand(summary: str, share: float) -> None:
    assert copied_share(summary, POST) == pytest.approx(share)


def test_other_lengths() -> None:
    assert copied_share("cat moved again", POST, n=2) == pytest.approx(1 / 2)
    assert copied_share("cat moved again", POST, n=1) == pytest.approx(2 / 3)
    assert copied_share("sister lost it.", POST, n=3) == 1.0  # the end of the post
    assert copied_share("cat", "a post", n=4) == 0.0
    assert copied_share("one two three four", "one two", n=4) == 0.0


def test_position_is_where_shared_pairs_of_words_stand() -> None:
    """The post's eleven words are ten pairs, at 0 to 9."""
    assert source_position("My cat", POST) == 0.0
    assert source_position("sister LOST it.", POST) == pytest.approx((8 + 9) / 2 / 9)
    assert source_position("my cat or to the", POST) == pytest.approx((0 + 3) / 2 / 9)
    assert source_position("a b", "a b c a b") == 0.0  # the first of two places
    assert source_position("cat sister", POST) is None
    assert source_position("", POST) is None
    assert source_position("a b", "a b") is None  # a post of one pair has no beginning and end
