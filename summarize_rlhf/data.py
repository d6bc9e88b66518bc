"""Rows of text with named columns, from a local file, a directory of split files, or the Hub; checked on the way in."""

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import datasets

from summarize_rlhf import UserError
from summarize_rlhf.hub import is_local, unreachable, use_hub
from summarize_rlhf.row_files import read_files

PLACE = "place"  # the column with each row's place, for messages: "train.jsonl, row 13"
SPLIT_NAMES = {"valid": ("valid", "validation", "valid1"), "validation": ("validation", "valid", "valid1")}


def load_rows(
    name: str | Path, split: str, columns: list[str], max_rows: int | None = None, optional: Sequence[str] = ()
) -> datasets.Dataset:
    """Load the first ``max_rows`` rows of a split: ``columns``, every cell text that is not blank, and their ``place``.

    Of the ``optional`` columns those that the first row has, as text, whatever they hold.

    ``name`` is a file (whatever the split), a directory that holds the split (`row_files.py`), or a Hub id. ``valid``
    and ``validation`` name the same split. Raises ``UserError`` naming file, row, column and remedy.
    """
    names = SPLIT_NAMES.get(split, (split,))
    rows = read_files(Path(name).expanduser(), names) if is_local(name) else _read_hub(str(name), names)
    table: dict[str, list[str]] = {column: [] for column in (*columns, PLACE)}
    also: list[str] = []
    for place, row in rows:
        if not table[PLACE] and isinstance(row, dict):
            also = [column for column in optional if column in row]
            table |= {column: [] for column in also}
        if max_rows is not None and len(table[columns[0]]) >= max_rows:
            break
        for column in columns:
            table[column].append(cell(row, column, place))
        for column in also:
            table[column].append(str(row.get(column)))
        table[PLACE].append(place)
    if not table[columns[0]]:
        raise UserError(f"{name} [{split}] has no rows")
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


def _read_hub(name: str, split_names: Sequence[str]) -> Iterator[tuple[str, dict]]:
    use_hub()
    try:
        splits = datasets.get_dataset_split_names(name)
        found = next((s for s in split_names if s in splits), None)
        if found is None:
            raise UserError(f"{name} has no split {split_names[0]!r}; it has {', '.join(splits)}")
        dataset = datasets.load_dataset(name, split=found)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise unreachable("data set", name, error) from error
    return ((f"{name} [{found}], row {number}", row) for number, row in enumerate(dataset, 1))


def cell(row: dict, column: str, where: str, may_be_blank: bool = False) -> str:
    """Return a row's text in `column`. Raises ``UserError`` for what is no text, and for a blank unless it may be."""
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected an object with columns, found {type(row).__name__}")
    if column not in row:
        raise UserError(f"{where}: no column {column!r}; it has {', '.join(map(repr, row)) or 'none'}")
    if not isinstance(row[column], str):
        raise UserError(f"{where}: column {column!r} should be text, but is {type(row[column]).__name__}")
    if not may_be_blank and not row[column].strip():
        raise UserError(f"{where}: column {column!r} is empty; fill it in or leave out the row")
    try:
        row[column].encode()
    except UnicodeEncodeError as error:  # JSON can say half of a character: "\\ud83d"
        raise UserError(f"{where}: column {column!r} holds half a character at {error.start}; correct it") from error
    return row[column]
