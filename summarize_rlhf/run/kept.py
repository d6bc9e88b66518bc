"""What is kept beside checkpoints to spare work: carries its size and hash, and is checked before it is used.

A file that is damaged, unfinished or made from something else is made again, with one line that says so.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from summarize_rlhf import UserError
from summarize_rlhf.run.files import sha256_of, sync_file, write_file

SUFFIX = ".kept.json"


def record_of(file: Path) -> Path:
    """Return the path of a kept file's record: of a small value it holds the value itself, of a file size and hash."""
    return file.with_name(file.name + SUFFIX)


def write_value(name: Path, value: Any) -> None:
    """Keep a small JSON value under `name`, complete or not at all, with its hash."""
    text = json.dumps(value)
    write_file(record_of(name), json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "value": value}))


def read_value(name: Path) -> Any | None:
    """Return the value kept under `name`; None where there is none, or a damaged one, which one line says."""
    path = record_of(name)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(record["value"])
        if hashlib.sha256(text.encode()).hexdigest() == record["sha256"]:
            return record["value"]
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    print(f"{path} is damaged: it is not used, and made again", flush=True)
    return None


def begin(file: Path) -> None:
    """Remove `file`, which is about to be written, and record that it is unfinished."""
    write_value(file, {"unfinished": True})
    file.unlink(missing_ok=True)


def finish(file: Path, made_from: Any) -> None:
    """Sync the complete `file`, and record its size, its hash and what it was `made_from` (plain JSON)."""
    sync_file(file)
    write_value(file, {"bytes": file.stat().st_size, "sha256": sha256_of(file), "made_from": made_from})


def is_usable(file: Path, made_from: Any) -> bool:
    """Return whether `file` is what `finish` recorded, made from the same. Prints why where it is there, but is not."""
    if not file.exists():
        return False
    record, reason = read_value(file), None
    if not isinstance(record, dict) or "sha256" not in record:
        reason = "it was not finished"
    elif record["made_from"] != json.loads(json.dumps(made_from)):
        reason = "it was made from something else"
    elif file.stat().st_size != record["bytes"]:
        reason = f"it has {file.stat().st_size} bytes instead of {record['bytes']}"
    elif sha256_of(file) != record["sha256"]:
        reason = "it is not what was written (its hash differs)"
    if reason is not None:
        print(f"{file} is made again: {reason}", flush=True)
    return reason is None


def drop(file: Path) -> None:
    """Remove a kept file and its record."""
    file.unlink(missing_ok=True)
    record_of(file).unlink(missing_ok=True)


def drop_all(directory: Path) -> None:
    """Remove everything that is kept in `directory`."""
    for record in directory.glob(f"*{SUFFIX}"):
        drop(record.with_name(record.name.removesuffix(SUFFIX)))
