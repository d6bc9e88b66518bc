"""Write files and directories atomically: whatever happens meanwhile, they are complete or absent."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE

CHUNK = 1 << 22  # bytes read at once


def check_output_dir(path: str | Path) -> None:
    """Check before any work that a model may be written here. Raises ``UserError`` where it cannot or must not.

    A directory that holds files but no ``run.json`` was not written by a stage and is never replaced.
    """
    path = Path(path).absolute()
    if path.exists() and not path.is_dir():
        raise UserError(f"the output directory {path} is a file")
    if path.is_dir() and any(path.iterdir()) and not (path / RUN_FILE).exists():
        raise UserError(
            f"the output directory {path} holds files that no stage wrote (no {RUN_FILE}), and a finished run would "
            f"replace them: choose another --output_dir, or move them away"
        )
    parent = next(p for p in path.parents if p.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write to {parent}, where the output directory {path} should be made: choose another one"
        )


@contextlib.contextmanager
def write_directory(path: str | Path) -> Iterator[Path]:
    """Write a directory completely or not at all: ``with write_directory(out) as tmp: model.save_pretrained(tmp)``.

    The body writes into a hidden directory beside ``path``. When it ends well, the directory is synced to disk and
    renamed into place, replacing an earlier one. When it is interrupted in any way, the directory is removed and
    ``path`` is as it was.
    """
    path = Path(path).absolute()
    check_output_dir(path)
    tmp, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    with disk_errors(path):
        try:
            for leftover in (tmp, old):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            tmp.mkdir(parents=True)
            yield tmp
            sync_directory(tmp, recursive=True)
            if path.exists():
                path.rename(old)
            tmp.rename(path)
            sync_directory(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(tmp, ignore_errors=True)
            if old.exists() and not path.exists():
                old.rename(path)
            raise


def write_file(path: str | Path, text: str) -> None:
    """Write a text file completely or not at all; an earlier one stays until the new one is on disk."""
    path = Path(path)
    tmp = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            tmp.write_text(text, encoding="utf-8")
            _sync_one(tmp)
            tmp.replace(path)
        except BaseException:
            tmp.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk, for which torch and safetensors have their own, into `UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise UserError(f"cannot write {path}: {error.strerror}. Nothing was left there") from error
        raise
    except (RuntimeError, SafetensorError) as error:
        if any(words in str(error) for words in ("No space left", "file write failed", "unexpected pos")):
            raise UserError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}. Nothing was left there") from error
        raise


def sync_directory(directory: Path, recursive: bool = False) -> None:
    """Make the names in a directory outlive a power cut; with ``recursive`` also everything below it."""
    for entry in directory.rglob("*") if recursive else ():
        _sync_one(entry)
    _sync_one(directory)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
