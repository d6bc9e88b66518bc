"""Rows come in checked: what is wrong is named with its file, row and column."""

import json
import warnings

import datasets
import pytest
from tiny import tldr_row, write_rows

from summarize_rlhf import UserError
from summarize_rlhf.data import fingerprint, load_rows, warn_of_repeats

ROWS = [{"prompt": f"POST: {i}\nTL;DR:", "label": f"number {i}", "extra": i} for i in range(5)]
COLUMNS = ["prompt", "label"]


def test_every_format_gives_the_same_rows(tmp_path):
    write_rows(tmp_path / "a" / "train.jsonl", ROWS)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "train.json").write_text(json.dumps(ROWS, indent=1))
    datasets.Dataset.from_list(ROWS).to_parquet(str(tmp_path / "c" / "train.parquet"))
    loaded = [load_rows(tmp_path / name, "train", COLUMNS) for name in "abc"]
    for name, rows in zip(("a/train.jsonl", "b/train.json", "c/train.parquet"), loaded, strict=True):
        assert rows.to_list() == [
            {k: row[k] for k in COLUMNS} | {"place": f"{tmp_path / name}, row {i}"} for i, row in enumerate(ROWS, 1)
        ]
    assert len({fingerprint(rows)["sha256"] for rows in loaded}) == 1
    assert load_rows(tmp_path / "a" / "train.jsonl", "valid", COLUMNS).to_list() == loaded[0].to_list()


def test_max_rows_are_the_first_and_later_ones_are_not_read(tmp_path):
    write_rows(tmp_path / "train.jsonl", [*ROWS[:2], {"nothing": 1}])
    assert load_rows(tmp_path, "train", COLUMNS, max_rows=2)["label"] == ["number 0", "number 1"]


def test_valid_and_validation_are_one_split(tmp_path):
    write_rows(tmp_path / "validation.jsonl", ROWS)
    assert len(load_rows(tmp_path, "valid", COLUMNS)) == 5


def test_the_fingerprint_sees_content_and_order(tmp_path):
    write_rows(tmp_path / "train.jsonl", ROWS)
    write_rows(tmp_path / "valid.jsonl", ROWS[::-1])
    train, valid = (fingerprint(load_rows(tmp_path, split, COLUMNS)) for split in ("train", "valid"))
    assert train == {"name": str(tmp_path), "split": "train", "rows": 5, "sha256": train["sha256"]}
    assert train["sha256"] != valid["sha256"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x"}, r"train.jsonl, row 6: no column 'label'; it has 'prompt'"),
        ({"prompt": "x", "label": "  \n"}, r"train.jsonl, row 6: column 'label' is empty"),
        ({"prompt": "x", "label": 3}, r"row 6: column 'label' should be text, but is int"),
        ({"prompt": "x", "label": None}, r"row 6: column 'label' should be text, but is NoneType"),
        (["x"], r"row 6: expected an object with columns, found list"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    write_rows(tmp_path / "train.jsonl", [*ROWS, row])
    with pytest.raises(UserError, match=message):
        load_rows(tmp_path, "train", COLUMNS)


def test_a_truncated_file_is_named(tmp_path):
    write_rows(tmp_path / "train.jsonl", ROWS)
    text = (tmp_path / "train.jsonl").read_text()
    (tmp_path / "train.jsonl").write_text(text[:-20])
    with pytest.raises(UserError, match=r"train.jsonl, row 5: no valid JSON .*is the file complete"):
        load_rows(tmp_path, "train", COLUMNS)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(UserError, match=r"cannot read the rows in .*train\.parquet"):
        load_rows(tmp_path / "train.parquet", "train", COLUMNS)


def test_a_split_that_is_not_there_names_those_that_are(tmp_path):
    write_rows(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(UserError, match=r"has no test.jsonl .*it has train.jsonl"):
        load_rows(tmp_path, "test", COLUMNS)
    write_rows(tmp_path / "test.jsonl", [])
    with pytest.raises(UserError, match="has no rows"):
        load_rows(tmp_path, "test", COLUMNS)
    (tmp_path / "rows.txt").write_text("a,b")
    with pytest.raises(UserError, match="expected a file that ends in"):
        load_rows(tmp_path / "rows.txt", "test", COLUMNS)


def test_a_hub_id_without_a_network_is_one_line():
    with pytest.raises(UserError, match=r"CarperAI/openai_summarize_tldr.*cannot be reached.*quickstart") as caught:
        load_rows("CarperAI/openai_summarize_tldr", "train", COLUMNS)
    assert "\n" not in str(caught.value)


def test_real_rows_load(real_data):
    rows = load_rows(real_data / "openai_summarize_tldr", "valid", COLUMNS)
    assert len(rows) == 200
    assert all(prompt.endswith("\nTL;DR:") for prompt in rows["prompt"])
    pairs = load_rows(real_data / "openai_summarize_comparisons", "test", ["prompt", "chosen", "rejected"])
    assert all(text.startswith("TL;DR: ") for text in pairs["chosen"])


def test_rows_of_the_tests_have_the_schema():
    import random

    assert set(tldr_row(random.Random(0))) == {"prompt", "label"}


def test_rows_that_stand_twice_and_in_both_splits_are_told_of(tmp_path):
    for split, labels in (("train", "aabc"), ("valid", "cd"), ("test", "ef")):
        write_rows(tmp_path / f"{split}.jsonl", [{"prompt": "p", "label": label} for label in labels])
    train, valid, test = (load_rows(tmp_path, split, ["prompt", "label"]) for split in ("train", "valid", "test"))
    with pytest.warns(UserWarning, match="rows of") as told:
        warn_of_repeats(train, valid)
    assert [str(each.message) for each in told] == [
        "1 of 4 rows of train repeat another one",
        "1 of 2 rows of valid stand in train too: figures on them measure memory",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_repeats(valid, test)
