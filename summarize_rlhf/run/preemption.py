"""End a run when the machine is wanted back: a checkpoint at the next step, then exit code 75."""

import os
import signal
import threading
import time
from types import FrameType

import torch
from accelerate import PartialState
from accelerate.utils import reduce

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later, with the same command
GRACE = 2.0  # seconds in which further signals count as the first: launchers send several at once


class Preempted(SystemExit):
    """Raised once the checkpoint is written; ends the process with `EXIT_CODE`."""

    def __init__(self):
        super().__init__(EXIT_CODE)


class Preemption:
    """Listen for SIGTERM and SIGINT while used as a context, and measure the time since the last checkpoint.

    A second signal, `GRACE` seconds or more after the first, ends the process at once.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, minutes: float | None = None):
        self.minutes = minutes  # between checkpoints, besides those in steps
        self.asked: float | None = None  # when the first signal came
        self.saved = time.monotonic()
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in self.SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked is not None and now - self.asked > GRACE:
            os._exit(128 + number)
        if self.asked is None and os.environ.get("LOCAL_RANK", "0") == "0":
            name = signal.Signals(number).name
            print(f"\n{name}: a checkpoint at the next step, then exit code {EXIT_CODE}; again: at once", flush=True)
        self.asked = self.asked if self.asked is not None else now

    def agree(self) -> tuple[bool, bool]:
        """Return whether the run is to end, and whether a checkpoint is due by the clock, the same on all processes.

        All processes call this after each step. A signal to one ends all.
        """
        state = PartialState()
        due = self.minutes is not None and state.is_main_process and self.elapsed() >= 60 * self.minutes
        flags = torch.tensor([self.asked is not None, due], dtype=torch.float32, device=state.device)
        ending, saving = (flags if state.num_processes == 1 else reduce(flags, "sum")).tolist()
        return ending > 0, saving > 0

    def elapsed(self) -> float:
        """Return the seconds since the last checkpoint, or since the start."""
        return time.monotonic() - self.saved

    def has_saved(self) -> None:
        self.saved = time.monotonic()
