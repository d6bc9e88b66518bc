"""A function of the user's that a flag names: ``package.module:function``."""

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path

from summarize_rlhf import UserError
from summarize_rlhf.handover import sha256_of


def load_function(name: str, option: str) -> Callable:
    """Import the function that `option` names; modules of the working directory are found, too.

    Raises `UserError` for a name of another form, and where module or function cannot be had.
    """
    module, _, function = name.partition(":")
    if not module or not function.isidentifier():
        raise UserError(f"{option} should be module:function, as in my_file:my_function, but is {name!r}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise UserError(f"{option} {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UserError(f"{option} {name!r} is a {type(found).__name__}: a function is needed")
    return found


def version_of(name: str) -> str:
    """Return a hash of a loaded function's name and its module's file: after a change of either it is another one."""
    module = sys.modules[name.partition(":")[0]]
    return hashlib.sha256(f"{name} {sha256_of(Path(inspect.getfile(module)))}".encode()).hexdigest()
