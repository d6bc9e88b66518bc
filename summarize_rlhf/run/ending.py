"""The end of a process that has talked to others."""

import atexit
import contextlib
import os
import sys
import threading
from typing import NoReturn


def end_process(code: int | str | None) -> NoReturn:
    """Do what was registered for the exit, then end as `sys.exit(code)` would: as `multiprocessing` ends its children.

    A thread of gloo's may still hold the tensors of the last collective. Where it lets go of them while Python takes
    the interpreter apart, the process aborts (pytorch 190489), and its launcher takes a finished run for a failed one.
    Destroying the process group would wait for these threads, but not under ZeRO-3: DeepSpeed never lets go of its
    parameters, nor these of the group. So the interpreter is left as it is.
    """
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # waits for the threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # None, a closed pipe, a closed file
            stream.flush()
    os._exit(1 if isinstance(code, str) else code or 0)
