"""Rows that are computed once and kept on disk: tokenizing a data set takes minutes, reading the result none."""

import contextlib
import fcntl
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
from accelerate import PartialState

import summarize_rlhf.text
import summarize_rlhf.tokenizer
from summarize_rlhf.data import fingerprint, places
from summarize_rlhf.run import kept
from summarize_rlhf.run.files import disk_errors


def map_once(
    rows: datasets.Dataset,
    function: Callable[[dict[str, list], list[str]], dict[str, list]],
    depends_on: Sequence[Any],
    progress: str | None = None,
    fresh: bool = False,
) -> datasets.Dataset:
    """Apply ``function`` to batches of rows and their places, and keep the result on disk.

    The first process of the launch does the work, the others and later starts read the file; the first process of a
    further machine does it again where the cache is the machine's own. The file is in the cache of ``datasets``, under
    a hash of the rows, of the code and of everything else that the result ``depends_on``.
    ``progress`` names a bar; None shows none. A damaged file, or with ``fresh`` any, is made again.
    """
    shared = (summarize_rlhf.text, summarize_rlhf.tokenizer)
    sources = (inspect.unwrap(function), *shared)
    code = [Path(inspect.getfile(source)).read_text(encoding="utf-8") for source in sources]
    content = [fingerprint(rows)["sha256"], code, list(depends_on)]
    key = hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
    file = Path(datasets.config.HF_DATASETS_CACHE) / "summarize_rlhf" / f"{key}.arrow"
    file.parent.mkdir(parents=True, exist_ok=True)
    where = places(rows)
    (datasets.disable_progress_bars if progress is None else datasets.enable_progress_bars)()
    state = PartialState()
    fresh = fresh and state.is_main_process
    first = state.is_local_main_process
    with state.main_process_first(), state.local_main_process_first(), disk_errors(file), locked(file, first):
        made = not first or (not fresh and kept.is_usable(file, key))
        if not made:
            kept.begin(file)
        result = rows.map(
            lambda batch, indices: function(batch, [where[i] for i in indices]),
            with_indices=True,
            batched=True,
            remove_columns=rows.column_names,
            cache_file_name=str(file),
            new_fingerprint=key[:32],
            desc=progress,
        )
        if not made:
            kept.finish(file, key)
        return result


@contextlib.contextmanager
def locked(file: Path, to_write: bool) -> Iterator[None]:
    """Keep other runs from writing `file` meanwhile, or also from reading it; waits for them, with a line.

    Two runs that start together, as in a sweep, need the same rows: the first makes them for both. The lock is the
    system's (`flock`): a killed process leaves none behind.
    """
    mode = fcntl.LOCK_EX if to_write else fcntl.LOCK_SH
    with file.with_suffix(".lock").open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run, which prepares the same rows ({file}) …", flush=True)
            fcntl.flock(lock, mode)
        except OSError as error:  # a file system without locks
            print(f"note: {file} cannot be locked ({error.strerror}): start no second run now", flush=True)
        yield
