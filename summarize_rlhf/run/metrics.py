"""The metrics that a Trainer logs, one JSON object a line."""

import shutil
from pathlib import Path

from transformers import TrainerCallback

from summarize_rlhf.run.json_lines import JsonLines


class MetricsFile(TrainerCallback):
    """Append each logged dictionary, with its optimizer step, to `<directory>/metrics.jsonl` during training.

    A checkpoint records the log's state; a run that resumes from it cuts the log back to that, so that no step is in it
    twice. `copy_to` puts it into the finished model's directory.
    """

    NAME = "metrics.jsonl"

    def __init__(self, directory: str | Path):
        self.log = JsonLines(Path(directory) / self.NAME)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and "train_runtime" not in logs:  # the summary of one start, not of the run
            self.log.append([{"step": state.global_step, **logs}])

    def copy_to(self, directory: Path) -> None:
        shutil.copyfile(self.log.path, directory / self.NAME)
