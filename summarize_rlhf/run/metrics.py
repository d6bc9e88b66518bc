"""The metrics that a Trainer logs, one JSON object a line."""

import json
import os
import shutil
from pathlib import Path

from transformers import TrainerCallback

from summarize_rlhf.run.files import disk_errors


class MetricsFile(TrainerCallback):
    """Append each logged dictionary, with its optimizer step, to `<directory>/metrics.jsonl` during training.

    A checkpoint records the file's `size`; a run that resumes from it cuts the file back to that, so that no step is in
    it twice. `copy_to` puts it into the finished model's directory.
    """

    NAME = "metrics.jsonl"

    def __init__(self, directory: str | Path):
        self.path = Path(directory) / self.NAME

    def begin(self, size: int = 0) -> None:
        """Open the file, keeping the first `size` bytes of an earlier start."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.truncate(size)

    def size(self) -> int:
        """Return the number of bytes so far, all of them on disk."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and "train_runtime" not in logs:  # the summary of one start, not of the run
            with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")

    def copy_to(self, directory: Path) -> None:
        shutil.copyfile(self.path, directory / self.NAME)
