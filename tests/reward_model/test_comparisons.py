"""From rows of the comparisons schema to batches of token ids."""

import random

import datasets
import pytest
from tiny import comparison_row, sentence, write_rows

from reward_model.comparisons import encode_comparisons, load_comparisons, usable_comparisons
from reward_model.encoding import encode, first_difference, pad_right
from summarize_rlhf import UserError
from summarize_rlhf.text import END, START

GOOD = {
    "prompt": "SUBREDDIT: r/pets\nPOST: my cat",
    "chosen": "TL;DR: my cat found my car",
    "rejected": "TL;DR: so it was again",
}


def rows_of(*changes: dict[str, str]) -> datasets.Dataset:
    return datasets.Dataset.from_list([GOOD | change for change in changes])


def test_pairs_that_teach_nothing_are_left_out_and_counted():
    rows, dropped = usable_comparisons(
        rows_of(
            {},
            {"rejected": GOOD["chosen"]},
            {"rejected": GOOD["chosen"].removeprefix("TL;DR:") + " "},  # equal once they are rendered
            {"chosen": "TL;DR: my cat again"},
            {"rejected": "TL;DR: one two"},
            {"rejected": "TL;DR: one two three four"},  # five words in the field, as the published code counted
        )
    )
    assert rows.to_list() == [GOOD, GOOD | {"rejected": "TL;DR: one two three four"}]
    assert dropped == (2, 2)
    assert str(dropped) == "2 with equal summaries, 2 with a summary under 5 words"


def test_no_usable_pair_is_an_error():
    with pytest.raises(UserError, match="no usable pair among 1 rows: 1 with equal summaries"):
        usable_comparisons(rows_of({"rejected": GOOD["chosen"]}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "chosen": "c"}, r"train\.jsonl, row 1: no column 'rejected'"),
        (GOOD | {"chosen": ""}, r"train\.jsonl, row 1: column 'chosen' is empty"),
        (GOOD | {"chosen": 3}, r"train\.jsonl, row 1: column 'chosen' should be text, but is int"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    write_rows(tmp_path / "train.jsonl", [row])
    with pytest.raises(UserError, match=message):
        load_comparisons(str(tmp_path), "train")


def test_the_first_rows_are_taken_before_any_is_left_out(tmp_path):
    """The published test took the first 5000 rows and then dropped some."""
    write_rows(tmp_path / "test.jsonl", [GOOD | {"rejected": GOOD["chosen"]}, GOOD, GOOD])
    rows, dropped = load_comparisons(str(tmp_path), "test", max_rows=2)
    assert (len(rows), dropped.equal) == (1, 1)


def test_the_text_that_is_encoded(tokenizer):
    (pair,) = encode(tokenizer, [GOOD["prompt"]], [(GOOD["chosen"], GOOD["rejected"])], 500)
    assert tokenizer.decode(pair[0]) == START + GOOD["prompt"] + "\n" + GOOD["chosen"]
    assert tokenizer.decode(pair[1]) == START + GOOD["prompt"] + "\n" + GOOD["rejected"]
    assert len(tokenizer(START).input_ids) > 1  # no token, but pieces
    assert pair[0] == tokenizer(START + GOOD["prompt"] + "\n" + GOOD["chosen"] + END).input_ids[:-1]


@pytest.mark.parametrize("max_length", [80, 100, 120, 150])
def test_the_post_is_cut_and_both_texts_follow_the_same_one(tokenizer, max_length):
    """Fails if TL;DR: or a summary were cut, or each text's post alone: they would part inside the post."""
    rng = random.Random(0)
    rows = [comparison_row(rng, words=rng.choice([5, 60, 120])) for _ in range(12)]
    pairs = [(row["chosen"], row["rejected"] + " " + sentence(rng, 8)) for row in rows]
    encoded = encode(tokenizer, [row["prompt"] for row in rows], pairs, max_length)
    cut = 0
    for row, summaries, ids in zip(rows, pairs, encoded, strict=True):
        bodies = set()
        for summary, text in zip(summaries, map(tokenizer.decode, ids), strict=True):
            assert text.startswith(START)
            assert text.endswith("\n" + summary)
            bodies.add(text.removeprefix(START).removesuffix("\n" + summary))
        assert len(bodies) == 1
        body = bodies.pop()
        assert row["prompt"].startswith(body)
        cut += body != row["prompt"]
        longest = max(map(len, ids)) + 1  # and END
        assert longest <= max_length
        if body != row["prompt"]:
            assert longest > max_length - 6  # no more is lost than must be
    assert cut > 0


def test_a_post_that_contains_tldr_survives(tokenizer):
    body = "POST: they wrote TL;DR: read it. I did"
    (pair,) = encode(tokenizer, [body], [("TL;DR: my cat moved",)], 500)
    assert tokenizer.decode(pair[0]) == f"{START}{body}\nTL;DR: my cat moved"


def test_what_cannot_be_encoded_is_told(tokenizer):
    with pytest.raises(UserError, match="even with an empty post"):
        encode(tokenizer, ["a post"], [("my cat " * 50,)], 40)
    with pytest.raises(UserError, match=r"x.jsonl, row 7: a summary needs"):
        encode(tokenizer, ["a post"], [("my cat " * 50,)], 40, ["x.jsonl, row 7"])


def test_where_two_texts_part():
    assert first_difference([1, 2, 3], [1, 5, 3, 9]) == 1
    assert first_difference([1, 2], [1, 2, 0]) == first_difference([1, 2, 0], [1, 2]) == 2
    assert first_difference([1, 2, 3], [1, 2, 3]) == 3
    assert first_difference([1], [2]) == 0


def test_padding_is_on_the_right():
    ids, lengths = pad_right([[1], [2, 0, 3]], 9)
    assert ids.tolist() == [[1, 9, 9], [2, 0, 3]]
    assert lengths.tolist() == [1, 3]


def test_encoded_rows(tokenizer):
    rows = encode_comparisons(rows_of({}, {"chosen": GOOD["chosen"] + " again today"}), tokenizer, 200)
    assert rows.column_names == ["chosen_ids", "rejected_ids", "start", "length"]
    for row in rows:
        start, chosen, rejected = row["start"], row["chosen_ids"], row["rejected_ids"]
        assert tokenizer.decode(chosen[:start]) == f"{START}{GOOD['prompt']}\nTL;DR:"
        assert chosen[:start] == rejected[:start]
        assert chosen[start] != rejected[start]
        assert row["length"] == start + len(chosen[start:]) + len(rejected[start:])


def test_real_pairs(real_data, real_gptj_dir):
    from summarize_rlhf.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(real_gptj_dir)
    rows, dropped = load_comparisons(str(real_data / "openai_summarize_comparisons"), "test")
    assert len(rows) + sum(dropped) == 110
    encoded = encode_comparisons(rows, tokenizer, 300)
    assert max(len(ids) for side in ("chosen_ids", "rejected_ids") for ids in encoded[side]) < 300
    for row, pair in zip(rows, encoded, strict=True):
        for side in ("chosen", "rejected"):
            text = tokenizer.decode(pair[f"{side}_ids"])
            assert text.startswith(START + row["prompt"][:40])
            assert text.endswith(row[side].strip())
