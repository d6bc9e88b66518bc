"""Runs a function in a child of this process: libraries are loaded already, and what it leaves behind goes with it.

A stage joins a process group, sets environment variables and wraps its model. In a child it may do so as often as a
test wants, without the seconds that a new start costs.
"""

import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from accelerate.state import AcceleratorState, GradientState, PartialState

OF_A_LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_DEEPSPEED")


def forked(function: Callable[..., Any], *args: Any) -> Any:
    """What `function(*args)` returns in a child process. Fails with the child's output where it raises."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            code = 1
            try:
                for state in (AcceleratorState, GradientState, PartialState):
                    state._reset_state()
                for name in OF_A_LAUNCH:
                    os.environ.pop(name, None)
                pickle.dump(function(*args), answer)
                answer.flush()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        answer.seek(0)
        assert code == 0, output.read().decode(errors="replace")[-3000:]
        return pickle.load(answer)


def run_main(main: Callable[[], None], values: dict[str, object]) -> None:
    """`main` of a stage with these flags."""
    sys.argv = ["stage", *(word for name, value in values.items() for word in (f"--{name}", str(value)))]
    main()
