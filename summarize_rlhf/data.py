"""Rows of text with named columns, from a local file, a directory of split files, or the Hub; checked on the way in."""

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import datasets

from summarize_rlhf import UserError
from summarize_rlhf.hub import is_local, unreachable, use_hub
from summarize_rlhf.reading import reading, reason

ENDINGS = (".jsonl", ".json", ".parquet")
PLACE = "place"  # the column with each row's place, for messages: "train.jsonl, row 13"
SPLIT_NAMES = {"valid": ("valid", "validation", "valid1"), "validation": ("validation", "valid", "valid1")}


def load_rows(name: str | Path, split: str, columns: list[str], max_rows: int | None = None) -> datasets.Dataset:
    """Load the first ``max_rows`` rows of a split: ``columns``, every cell text that is not blank, and their ``place``.

    ``name`` is a directory with ``{split}.jsonl`` (or ``.json``, ``.parquet``), one such file (whatever the
    split), or a Hub id. ``valid`` and ``validation`` name the same split. Raises ``UserError`` naming file,
    row, column and remedy.
    """
    if is_local(name):
        path = _find_file(Path(name).expanduser(), split)
        where, rows = str(path), _read_parquet(path) if path.suffix == ".parquet" else _read_json(path)
    else:
        where, rows = f"{name} [{split}]", _read_hub(str(name), split)
    table: dict[str, list[str]] = {column: [] for column in (*columns, PLACE)}
    for number, row in rows:
        if max_rows is not None and len(table[columns[0]]) >= max_rows:
            break
        for column in columns:
            table[column].append(_cell(row, column, f"{where}, row {number}"))
        table[PLACE].append(f"{where}, row {number}")
    if not table[columns[0]]:
        raise UserError(f"{where} has no rows")
    info = datasets.DatasetInfo(dataset_name=str(name))
    return datasets.Dataset.from_dict(table, info=info, split=datasets.NamedSplit(split))


def places(rows: datasets.Dataset) -> list[str]:
    """Return each row's place in its file, whatever was left out or drawn since. Rows made in memory count from 1."""
    if PLACE in rows.column_names:
        return rows[PLACE][:]
    return [f"row {number} of {rows.info.dataset_name or 'the data'}" for number in range(1, len(rows) + 1)]


def _content(dataset: datasets.Dataset) -> list[str]:
    """Return the cells of each row as one string."""
    return [json.dumps({name: x for name, x in row.items() if name != PLACE}, sort_keys=True) for row in dataset]


def warn_of_repeats(train: datasets.Dataset, held_out: datasets.Dataset) -> None:
    """Warn of rows that are in ``train`` more than once, or in both splits: figures on them measure memory."""
    rows, others = _content(train), _content(held_out)
    seen = set(rows)
    twice, shared = len(rows) - len(seen), sum(row in seen for row in others)
    if twice:
        warnings.warn(f"{twice} of {len(rows)} rows of {train.split} repeat another one", stacklevel=2)
    if shared:
        places = f"rows of {held_out.split} stand in {train.split} too"
        warnings.warn(f"{shared} of {len(others)} {places}: figures on them measure memory", stacklevel=2)


def fingerprint(dataset: datasets.Dataset) -> dict[str, str | int]:
    """Describe the data that a run used: name, split, number of rows, and the SHA-256 of all cells in order."""
    digest = hashlib.sha256()
    for row in _content(dataset):
        digest.update(row.encode())
    return {
        "name": dataset.info.dataset_name,
        "split": str(dataset.split),
        "rows": len(dataset),
        "sha256": digest.hexdigest(),
    }


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Write JSON Lines, one row a line, as ``load_rows`` reads them."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _find_file(path: Path, split: str) -> Path:
    if path.is_file():
        if path.suffix not in ENDINGS:
            raise UserError(f"{path}: expected a file that ends in {', '.join(ENDINGS)}")
        return path
    for name in SPLIT_NAMES.get(split, (split,)):
        for ending in ENDINGS:
            if (path / (name + ending)).is_file():
                return path / (name + ending)
    found = sorted(p.name for p in path.iterdir() if p.suffix in ENDINGS)
    raise UserError(f"{path} has no {split}.jsonl (nor .json, .parquet); it has {', '.join(found) or 'no data file'}")


def _read_json(path: Path) -> Iterator[tuple[int, dict]]:
    """Read JSON Lines, or one JSON array; rows count from 1, so that in JSON Lines they are line numbers."""
    start, number = "", 0
    with reading(path, "rows in"), path.open(encoding="utf-8-sig") as file:  # Windows begins it with a byte order mark
        try:
            start = file.read(1)
            file.seek(0)
            if start == "[":
                yield from enumerate(json.load(file), 1)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, json.loads(line)
        except json.JSONDecodeError as error:
            place = f"row {number}" if start != "[" else f"line {error.lineno}"
            raise UserError(f"{path}, {place}: no valid JSON ({error.msg}); is the file complete?") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a depth of 100,000
            raise UserError(f"{path}, row {number}: {reason(error)}") from error


def _read_parquet(path: Path) -> Iterator[tuple[int, dict]]:
    import pyarrow.lib
    import pyarrow.parquet

    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pyarrow.lib.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: no readable parquet file ({error}); is the file complete?") from error


def _read_hub(name: str, split: str) -> Iterator[tuple[int, dict]]:
    use_hub()
    try:
        splits = datasets.get_dataset_split_names(name)
        found = next((s for s in SPLIT_NAMES.get(split, (split,)) if s in splits), None)
        if found is None:
            raise UserError(f"{name} has no split {split!r}; it has {', '.join(splits)}")
        dataset = datasets.load_dataset(name, split=found)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise unreachable("data set", name, error) from error
    return enumerate(dataset, 1)


def _cell(row: dict, column: str, where: str) -> str:
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected an object with columns, found {type(row).__name__}")
    if column not in row:
        raise UserError(f"{where}: no column {column!r}; it has {', '.join(map(repr, row)) or 'none'}")
    if not isinstance(row[column], str):
        raise UserError(f"{where}: column {column!r} should be text, but is {type(row[column]).__name__}")
    if not row[column].strip():
        raise UserError(f"{where}: column {column!r} is empty; fill it in or leave out the row")
    try:
        row[column].encode()
    except UnicodeEncodeError as error:  # JSON can say half of a character: "\\ud83d"
        raise UserError(f"{where}: column {column!r} holds half a character at {error.start}; correct it") from error
    return row[column]
