"""What a Trainer logs, kept as one JSON object a line."""

import json
import shutil
from pathlib import Path

from transformers import TrainerCallback


class MetricsFile(TrainerCallback):
    """Appends each logged dictionary, with its optimizer step, to `<directory>/metrics.jsonl` as training
    goes.

    A run that resumes appends; a fresh one starts the file anew. `copy_to` puts it into the finished
    checkpoint.
    """

    NAME = "metrics.jsonl"

    def __init__(self, directory: str | Path, resume: bool = False):
        self.path = Path(directory) / self.NAME
        self.resume = resume

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.resume:
                self.path.write_text("")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")

    def copy_to(self, directory: Path) -> None:
        shutil.copyfile(self.path, directory / self.NAME)
