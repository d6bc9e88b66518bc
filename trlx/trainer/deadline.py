"""A time limit on a call of a user's function."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def deadline(seconds: float | None, told: str) -> Iterator[None]:
    """Raise TimeoutError with the text `told` in what runs within it after `seconds`; None: no limit.

    By the system's timer, so in the main thread alone; elsewhere there is no limit. A call that does not come back to
    Python (a lock in a C library) is reached only when it does.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_) -> None:
        raise TimeoutError(told)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
