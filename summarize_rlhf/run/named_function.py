"""A function of the user's that a flag names: ``package.module:function``."""

import hashlib
import importlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from summarize_rlhf import UserError
from summarize_rlhf.handover import sha256_of

INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


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
    except (Exception, SystemExit) as error:
        raise UserError(f"{option} {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UserError(f"{option} {name!r} is a {type(found).__name__}: a function is needed")
    return found


def version_of(name: str) -> str:
    """Return a hash of a loaded function's name and of the files that it is made of: another one after any change.

    They are its module's file and those of what that module imports by name, without Python's and installed packages'.
    What a function asks elsewhere, or imports when it is called, has no part in it.
    """
    module = sys.modules[name.partition(":")[0]]
    named = [inspect.getmodule(value) for value in vars(module).values()]
    own = {file for file in map(_file, filter(None, named)) if not file.startswith(INSTALLED)} | {_file(module)}
    hashes = sorted(sha256_of(Path(file)) for file in own if file)
    return hashlib.sha256(f"{name} {' '.join(hashes)}".encode()).hexdigest()


def _file(module: ModuleType) -> str:
    """Return a module's file; nothing for one that is built in."""
    return vars(module).get("__file__") or ""
