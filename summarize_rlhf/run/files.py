"""Write files and directories atomically: whatever happens meanwhile, they are complete or absent."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.handover import sha256_of as sha256_of

LONGEST_SUFFIX = "..tmp.tmp"  # of the names that are made from an output directory's


def check_output_dir(path: str | Path) -> None:
    """Check before any work that a model may be written here. Raises ``UserError`` where it cannot or must not.

    A directory that holds files but no ``run.json`` was not written by a stage and is never replaced. A symbolic link
    is followed. What would fail after training, when the directory gets its name, is refused here.
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_dir():
        raise UserError(f"the output directory {path} is a file")
    if path.is_mount():
        raise UserError(f"the output directory {path} is a mount point, which cannot be replaced: name one inside it")
    if path.is_dir() and any(path.iterdir()) and not (path / RUN_FILE).exists():
        raise UserError(
            f"the output directory {path} holds files that no stage wrote (no {RUN_FILE}), and a finished run would "
            f"replace them: choose another --output_dir, or move them away"
        )
    parent = next(p for p in path.parents if p.exists())
    longest, most = len(os.fsencode(path.name)) + len(LONGEST_SUFFIX), os.pathconf(parent, "PC_NAME_MAX")
    if longest > most:
        raise UserError(
            f"the output directory's name {path.name[:40]}… is too long: the file system takes {most} bytes, and "
            f"{len(LONGEST_SUFFIX)} are added for names beside it"
        )
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
    path = Path(path).resolve()
    check_output_dir(path)
    tmp, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    recover_directory(path)
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


def recover_directory(path: str | Path) -> None:
    """Give the earlier directory its name back, where a process was killed while a new one took its place."""
    path = Path(path).resolve()
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.rename(path)


def write_file(path: str | Path, text: str) -> None:
    """Write a text file completely or not at all; an earlier one stays until the new one is on disk."""
    path = Path(path)
    tmp = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            tmp.write_text(text, encoding="utf-8")
            sync_file(tmp)
            tmp.replace(path)
        except BaseException:
            tmp.unlink(missing_ok=True)
            raise


def write_files(directory: str | Path, contents: Mapping[str, str | bytes]) -> None:
    """Write files into a directory, all of them or none; earlier ones of these names stay until then."""
    directory = Path(directory)
    made = {directory / f".{name}.tmp": directory / name for name in contents}
    with disk_errors(directory):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for tmp, content in zip(made, contents.values(), strict=True):
                tmp.write_bytes(content if isinstance(content, bytes) else content.encode())
                sync_file(tmp)
            for tmp, path in made.items():
                tmp.replace(path)
        except BaseException:
            for tmp in made:
                tmp.unlink(missing_ok=True)
            raise


def check_results_dir(path: str | Path, option: str = "--output_dir") -> None:
    """Check before any work that results may be written here. Raises ``UserError`` naming the option if they cannot."""
    path = Path(path).resolve()
    if path.exists() and not path.is_dir():
        raise UserError(f"the output directory {path} is a file")
    parent = next(p for p in (path, *path.parents) if p.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {parent}: choose another {option}")


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
        sync_file(entry)
    sync_file(directory)


def sync_file(path: Path) -> None:
    """Make the content of a file, or the names in a directory, outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
