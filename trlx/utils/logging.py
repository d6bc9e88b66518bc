"""trlX's logging, under its import path: Python's own loggers below "trlx", and a switch for progress bars."""

import logging
import os
from collections.abc import Mapping, MutableMapping
from logging import CRITICAL, DEBUG, ERROR, FATAL, INFO, NOTSET, WARN, WARNING
from typing import Any

import datasets.utils.logging
import transformers.utils.logging

__all__ = ["CRITICAL", "DEBUG", "ERROR", "FATAL", "INFO", "NOTSET", "WARN", "WARNING", "get_logger", "set_verbosity"]
ROOT = "trlx"


class RankLogger(logging.LoggerAdapter):
    """A logger that speaks on rank 0 alone, or on the `ranks` of a call: `logger.info("…", ranks=[0, 1])`; -1: all."""

    def log(self, level: int, msg: object, *args: Any, ranks: list[int] | None = None, **kwargs: Any) -> None:
        rank = int(os.environ.get("RANK", "0"))
        if self.isEnabledFor(level) and (rank in (ranks or [0]) or -1 in (ranks or [])):
            super().log(level, msg, *args, **kwargs)

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        return f"[RANK {os.environ.get('RANK', '0')}] {msg}", kwargs


def get_logger(name: str | None = None, extra: Mapping[str, object] | None = None) -> RankLogger:
    """Return the logger of a module, below trlX's own."""
    name = ROOT if not name else name if name.split(".")[0] == ROOT else f"{ROOT}.{name}"
    return RankLogger(logging.getLogger(name), extra or {})


def get_verbosity() -> int:
    return logging.getLogger(ROOT).getEffectiveLevel()


def set_verbosity(level: int) -> None:
    """Set the least level that is shown, one of Python's: `trlx.logging.ERROR`."""
    logging.getLogger(ROOT).setLevel(level)


def enable_progress_bar() -> None:
    """Show the progress bars of transformers and datasets."""
    transformers.utils.logging.enable_progress_bar()
    datasets.enable_progress_bars()


def disable_progress_bar() -> None:
    """Hide the progress bars of transformers and datasets."""
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
