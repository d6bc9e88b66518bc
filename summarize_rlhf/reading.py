"""One guard around every reader of outside input, and text from outside made safe for a console.

Files come from everywhere, and their readers (json, yaml, transformers, tokenizers, torch, safetensors, peft) raise
whatever a damaged or foreign one provokes in them. `reading` turns all of it into an error of the user's that names the
input. It stands around calls of such readers alone: a bug of ours keeps its traceback.
"""

import contextlib
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from summarize_rlhf import UserError

JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji
LONGEST = 300  # characters of a reason
MEMORY = re.compile(r"not enough memory|can't allocate memory|out of memory|Cannot allocate memory", re.IGNORECASE)


@contextlib.contextmanager
def reading(name: str | Path, what: str, remedy: str = "is the file complete?") -> Iterator[None]:
    """Raise `UserError` for whatever a reader of outside input raises: "cannot read the {what} {name}: …; {remedy}".

    A `UserError` passes, and memory that does not suffice is said to be that. main_guard keeps the traceback in a file.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise UserError(f"the {what} {name} does not fit into the memory that is left ({reason(error)})") from error
        raise UserError(f"cannot read the {what} {name}: {reason(error)}; {remedy}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice; torch has a type for it on a GPU alone."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and MEMORY.search(str(error)) is not None


def reason(error: BaseException) -> str:
    """Say in a line what an error says: the first line of its message that says something, or else its type."""
    if isinstance(error, pickle.UnpicklingError):  # torch's words are advice to trust the file
        return "it is damaged, or a pickle that holds more than tensors"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = printable(" ".join(lines[: 2 if lines[0].endswith(":") else 1]))[:LONGEST] if lines else ""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if len(said) < 15:  # KeyError: 'model'
        return f"{type(error).__name__}{f': {said}' if said else ''}"
    return said


def printable(text: str) -> str:
    """Escape what a console would obey instead of showing: control characters, escape sequences, changes of direction.

    >>> printable("red \x1b[31m")
    'red \\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode() for c in text)
