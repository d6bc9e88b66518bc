"""Every layout that people keep rows in gives the same rows; what is wrong with one is a line with file and row."""

import csv
import gzip
import json
from pathlib import Path

import datasets
import pytest

from summarize_rlhf import UserError
from summarize_rlhf.data import fingerprint, load_rows

ROWS = [{"prompt": f'POST: {i}, said "so"\nand – more\nTL;DR:', "label": f"=number {i}", "extra": i} for i in range(7)]
COLUMNS = ["prompt", "label"]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def as_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def packed(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


def shards(folder: Path, split: str, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        part = datasets.Dataset.from_list(ROWS).shard(count, i, contiguous=True)
        part.to_parquet(str(folder / f"{split}-{i:05d}-of-{count:05d}.parquet"))


LAYOUTS = {
    "JSON Lines": lambda d: (d / "train.jsonl").write_text(LINES),
    "JSON Lines, packed": lambda d: packed(d / "train.jsonl.gz", LINES),
    "a JSON array": lambda d: (d / "train.json").write_text(json.dumps(ROWS, indent=2)),
    "an array after a blank line and a BOM": lambda d: (d / "train.json").write_text(
        "\ufeff\n  " + json.dumps(ROWS), encoding="utf-8"
    ),
    "a packed array": lambda d: packed(d / "train.json.gz", json.dumps(ROWS)),
    "CSV": lambda d: as_csv(d / "train.csv", ROWS),
    "Parquet": lambda d: datasets.Dataset.from_list(ROWS).to_parquet(str(d / "train.parquet")),
    "the Hub's own layout": lambda d: shards(d / "data", "train"),
    "pieces": lambda d: shards(d, "train"),
    "save_to_disk": lambda d: datasets.Dataset.from_list(ROWS).save_to_disk(d),
    "save_to_disk of splits": lambda d: datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(ROWS), "validation": datasets.Dataset.from_list(ROWS[:2])}
    ).save_to_disk(d),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_rows(tmp_path, layout):
    LAYOUTS[layout](tmp_path)
    rows = load_rows(tmp_path, "train", COLUMNS)
    assert [{name: row[name] for name in COLUMNS} for row in rows] == [{n: r[n] for n in COLUMNS} for r in ROWS]
    assert len(set(rows["place"])) == len(ROWS)
    assert all(place.startswith(str(tmp_path)) for place in rows["place"])
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "train.jsonl").write_text(LINES)
    assert fingerprint(rows)["sha256"] == fingerprint(load_rows(plain, "train", COLUMNS))["sha256"]
    assert len(load_rows(tmp_path, "train", COLUMNS, max_rows=2)) == 2


def test_the_other_name_of_a_split(tmp_path):
    LAYOUTS["save_to_disk of splits"](tmp_path)
    assert len(load_rows(tmp_path, "valid", COLUMNS)) == 2
    shards(tmp_path / "hub" / "data", "validation")
    assert len(load_rows(tmp_path / "hub", "valid", COLUMNS)) == len(ROWS)


def cut_short(path: Path) -> None:
    packed(path, LINES)
    path.write_bytes(path.read_bytes()[:-30])


WRONG = {
    "a piece missing": (
        lambda d: (shards(d, "train"), (d / "train-00001-of-00003.parquet").unlink()),
        r"has 2 pieces of train, of 3: copy it again",
    ),
    "a packed file cut short": (lambda d: cut_short(d / "train.jsonl.gz"), r"cannot read the rows in .*jsonl\.gz"),
    "packed in name only": (
        lambda d: (d / "train.jsonl.gz").write_text(LINES),
        r"cannot read .*Not a gzip",
    ),
    "a number of 5,000 digits": (
        lambda d: (d / "train.jsonl").write_text(LINES + '{"prompt": ' + "9" * 5000 + "}\n"),
        r"train\.jsonl, row 8: Exceeds the limit",
    ),
    "nested too deep": (
        lambda d: (d / "train.jsonl").write_text(LINES + "[" * 100_000 + "\n"),
        r"train\.jsonl, row 8: (maximum recursion|.*no valid JSON)",
    ),
    "a null label": (
        lambda d: (d / "train.jsonl").write_text(LINES + '{"prompt": "x", "label": null}\n'),
        r"train\.jsonl, row 8: column 'label' should be text, but is NoneType",
    ),
    "a cell too many": (
        lambda d: (d / "train.csv").write_text("prompt,label\na,b\nc,d,e\n"),
        r"train\.csv, row 2: it has more or fewer cells than there are columns",
    ),
    "an open quote": (lambda d: (d / "train.csv").write_text('prompt,label\n"a,b\n'), r"cannot read the rows in .*csv"),
    "an empty cell": (
        lambda d: (d / "train.csv").write_text("prompt,label\na,\n"),
        r"row 1: column 'label' is empty",
    ),
    "a directory": (lambda d: (d / "train.jsonl").mkdir(), r"cannot read the rows in .*Is a directory"),
    "nothing in it": (lambda d: (d / "train.jsonl").symlink_to("/dev/null"), r"train\.jsonl has no rows"),
    "unreadable": (lambda d: (d / "train.jsonl").symlink_to("/proc/self/mem"), r"cannot read .*: Input/output error"),
    "a saved data set of other splits": (
        lambda d: datasets.DatasetDict({"dev": datasets.Dataset.from_list(ROWS)}).save_to_disk(d),
        r"has no split 'train'; it has dev",
    ),
    "a saved data set without its rows": (
        lambda d: (LAYOUTS["save_to_disk"](d), [file.unlink() for file in d.glob("*.arrow")]),
        r"cannot read the saved data set in",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_one_line(tmp_path, fault):
    make, told = WRONG[fault]
    make(tmp_path)
    with pytest.raises(UserError, match=told) as caught:
        load_rows(tmp_path, "train", COLUMNS)
    assert "\n" not in str(caught.value)
