"""Show one message instead of a traceback when the user's input is at fault."""

import errno
import functools
import getpass
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed
from tqdm.auto import tqdm

from summarize_rlhf import UserError
from summarize_rlhf.reading import printable
from summarize_rlhf.run.console import protect_console
from summarize_rlhf.run.ending import end_process
from summarize_rlhf.run.launch import check_environment
from summarize_rlhf.run.lost_process import lost_process
from summarize_rlhf.run.run_directory import release_run_directories

LONGEST = 2000  # characters of an error
# What the file system says of a path: no fault of the code's, and no traceback helps.
NOT_OURS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENAMETOOLONG, errno.ENOTDIR,
    errno.EISDIR, errno.ELOOP, errno.EBUSY, errno.ESTALE,
}  # fmt: skip


def main_guard(main: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a script's ``main``: a ``UserError`` becomes one line on stderr and exit code 2.
    So does what the file system says of a path.

    Every process of a launch meets the same error; only the first of each machine prints it. A ``UserWarning``, Ctrl-C,
    a port that is taken and a process that is lost (exit code 1) are one line as well. Errors of printing do not end
    the script. What is run as a script ends its process by `end_process` where that has talked to others.
    """

    @functools.wraps(main)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        protect_console()
        warnings.formatwarning = _one_line
        try:
            check_environment()
            return main(*args, **kwargs)
        except torch.distributed.DistNetworkError as error:
            where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            _tell(
                f"the processes cannot meet at {where} ({str(error).splitlines()[0]}). Is another launch there? Give "
                "the launcher another --master_port (accelerate: --main_process_port)"
            )
            sys.exit(2)
        except RuntimeError as error:
            lost = lost_process(error)
            if lost is None:
                raise
            _tell(lost)
            sys.exit(1)
        except KeyboardInterrupt:
            _tell("interrupted before there was anything to save")
            sys.exit(130)
        except UserError as error:
            _tell(f"{error}{_kept_traceback(error)}")
            sys.exit(2)
        except OSError as error:
            if error.errno not in NOT_OURS or error.filename is None:
                raise
            _tell(f"{error.filename}: {error.strerror}")
            sys.exit(2)
        finally:
            release_run_directories()

    @functools.wraps(main)
    def script(*args: Any, **kwargs: Any) -> None:
        code = None
        try:
            guarded(*args, **kwargs)
        except SystemExit as end:
            code = end.code
        if torch.distributed.is_initialized():
            end_process(code)
        sys.exit(code)

    return script if main.__module__ == "__main__" else guarded


def _tell(text: str) -> None:
    """Print to stderr, on the first process of each machine."""
    local_rank = os.environ.get("LOCAL_RANK", "0")
    if local_rank == "0" or not local_rank.isdigit():
        tqdm.write(f"error: {printable(text)[:LONGEST]}", file=sys.stderr)  # on a line of its own, below the bars


def _kept_traceback(error: UserError) -> str:
    """Write the traceback of the library's error behind ours to a file and name it; nothing for what says enough."""
    if error.__cause__ is None or isinstance(error.__cause__, UserError | OSError):
        return ""
    file = Path(tempfile.gettempdir()) / f"summarize_rlhf-{getpass.getuser()}" / f"traceback-{os.getpid()}.txt"
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return ""
    return f" (traceback: {file})"


_as_python_does = warnings.formatwarning


def _one_line(message: Any, category: type[Warning], *place: Any) -> str:
    return (
        f"warning: {printable(str(message))}\n"
        if category is UserWarning
        else _as_python_does(message, category, *place)
    )
