"""What a Trainer logs, kept as one JSON object a line."""

import json
import shutil
from pathlib import Path

from transformers import TrainerCallback


class MetricsFile(TrainerCallback):
    """Appends each logged dictionary, with its optimizer step, to `<directory>/metrics.jsonl` as training goes.

    A run that resumes keeps what was logged up to its checkpoint; a fresh one starts the file anew. `copy_to` puts it
    into the finished checkpoint.
    """

    NAME = "metrics.jsonl"

    def __init__(self, directory: str | Path, resume: bool = False):
        self.path = Path(directory) / self.NAME
        self.resume = resume

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            before = self.path.read_text().splitlines(keepends=True) if self.resume and self.path.is_file() else []
            kept = [line for line in before if line.endswith("\n") and json.loads(line)["step"] <= state.global_step]
            self.path.write_text("".join(kept))

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")

    def copy_to(self, directory: Path) -> None:
        shutil.copyfile(self.path, directory / self.NAME)
