"""Print without ever ending a run: neither a character nor a closed pipe decides whether a result is kept."""

import contextlib
import io
import os
import sys


class _Dropping(io.FileIO):
    """A file descriptor that drops what cannot be written: the reader has gone (`| head`), or the disk is full."""

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def protect_console() -> None:
    """Make stdout and stderr take any text at any time, for the rest of this process.

    Characters that their encoding lacks (ASCII under `LANG=C`, cp1252 on Windows) come out as `\\U0001f431`; text
    that cannot be written is dropped. A stream that is closed from the start becomes `os.devnull`.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  it lasts as long as the process
            continue
        if not isinstance(stream, io.TextIOWrapper):
            continue  # replaced by a notebook or a test
        stream.reconfigure(errors="backslashreplace")  # loggers may have kept it
        if stream is getattr(sys, f"__{name}__"):
            with contextlib.suppress(OSError):
                stream.flush()
            raw = _Dropping(stream.fileno(), "w", closefd=False)
            by_line = stream.line_buffering or stream.write_through
            made = io.TextIOWrapper(
                io.BufferedWriter(raw), stream.encoding, errors="backslashreplace", line_buffering=by_line
            )
            setattr(sys, name, made)
