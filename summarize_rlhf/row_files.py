"""Read the files that people keep rows in, row by row, each row with its place.

Files are JSON Lines, one JSON array, CSV or Parquet; all but Parquet also packed (`.gz`). A directory holds one of them
for each split, or several pieces (`train-00000-of-00002.parquet`, as the Hub lays them out, also in `data/`), or is
what `save_to_disk` of datasets wrote. The readers of datasets would name neither row nor line where something is wrong,
and copy each file into a cache first.
"""

import csv
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import datasets

from summarize_rlhf import UserError
from summarize_rlhf.reading import reading, reason
from summarize_rlhf.report import from_cell


def read_files(path: Path, split_names: Sequence[str]) -> Iterator[tuple[str, dict]]:
    """Yield the rows of a split with their places: "train.jsonl, row 13".

    `path` is a file (whatever the split), or a directory that holds the split under one of its names. Raises
    `UserError` where it holds none, for what cannot be read, and for no rows at all.
    """
    if path.is_dir() and any((path / name).is_file() for name in SAVED):
        yield from _read_saved(path, split_names)
        return
    for file in [path] if not path.is_dir() else _find_files(path, split_names):
        kind = next((kind for kind in READERS if file.name.endswith((kind, f"{kind}.gz"))), None)
        if kind is None or (kind == ".parquet" and file.suffix == ".gz"):
            raise UserError(f"{file}: expected a file that ends in {', '.join(READERS)} (or that and .gz)")
        number = 0
        with reading(file, "rows in"):
            for number, row in READERS[kind](file):
                yield f"{file}, row {number}", row
        if number == 0:
            raise UserError(f"{file} has no rows")


def _find_files(path: Path, split_names: Sequence[str]) -> list[Path]:
    """Find the file of a split in a directory, or its pieces in order."""
    folders = [folder for folder in (path, path / "data") if folder.is_dir()]
    there = sorted(file for folder in folders for file in folder.iterdir())
    for name in split_names:
        for ending in (f"{kind}{packed}" for packed in ("", ".gz") for kind in READERS):
            for folder in folders:
                if (folder / f"{name}{ending}").exists():
                    return [folder / f"{name}{ending}"]
        pieces = [(PIECE.fullmatch(file.name), file) for file in there]
        pieces = [(found, file) for found, file in pieces if found and found["split"] == name]
        if pieces:
            announced = {int(found["of"]) for found, _ in pieces}
            if announced != {len(pieces)}:
                raise UserError(f"{path} has {len(pieces)} pieces of {name}, of {max(announced)}: copy it again")
            return [file for _, file in pieces]
    found = [file.name for file in there if any(kind in file.suffixes for kind in READERS)]
    raise UserError(
        f"{path} has no {split_names[0]}.jsonl (nor {', '.join(READERS)}); it has {', '.join(found) or 'no data file'}"
    )


def _open(path: Path) -> TextIO:
    """Open text, packed or not. Windows begins it with a byte order mark."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read_json(path: Path) -> Iterator[tuple[int, dict]]:
    """Read JSON Lines, or one JSON array; rows count from 1, so that in JSON Lines they are line numbers."""
    array, number = False, 0
    with _open(path) as file:
        try:
            for line in file:
                if line.strip():
                    array = line.lstrip().startswith("[")
                    break
            file.seek(0)
            if array:
                yield from enumerate(json.load(file), 1)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, json.loads(line)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}" if array else f"row {number}"
            raise UserError(f"{path}, {place}: no valid JSON ({error.msg}); is the file complete?") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a depth of 100,000
            raise UserError(f"{path}, row {number}: {reason(error)}") from error


def _read_csv(path: Path) -> Iterator[tuple[int, dict]]:
    """Read CSV with a line of column names; rows count from 1, whatever lines they take."""
    with _open(path) as file:
        try:
            for number, row in enumerate(csv.DictReader(file, strict=True), 1):
                if None in row or None in row.values():
                    raise UserError(f"{path}, row {number}: it has more or fewer cells than there are columns")
                yield number, {column: from_cell(cell) for column, cell in row.items()}
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def _read_parquet(path: Path) -> Iterator[tuple[int, dict]]:
    import pyarrow.parquet

    number = 0
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _read_saved(path: Path, split_names: Sequence[str]) -> Iterator[tuple[str, dict]]:
    """Read what ``save_to_disk`` of a data set, or of a dictionary of them, has written."""
    with reading(path, "saved data set in"):
        saved = datasets.load_from_disk(str(path))
    if isinstance(saved, datasets.DatasetDict):
        name = next((name for name in split_names if name in saved), None)
        if name is None:
            raise UserError(f"{path} has no split {split_names[0]!r}; it has {', '.join(saved)}")
        path, saved = path / name, saved[name]
    with reading(path, "saved data set in"):
        for number, row in enumerate(saved, 1):
            yield f"{path}, row {number}", row


READERS = {".jsonl": _read_json, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}
SAVED = ("dataset_dict.json", "state.json")  # of which save_to_disk writes one
PIECE = re.compile(r"(?P<split>.+)-\d+-of-(?P<of>\d+)\.(jsonl|json|csv|parquet)(\.gz)?")
