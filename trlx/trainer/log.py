"""Where a run's numbers and texts go: metrics.jsonl always, the tracker if there is one, a few samples on screen."""

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm.auto import tqdm


class RunLog:
    """Writes on rank 0 alone. `directory` is the run's checkpoint directory."""

    def __init__(self, accelerator: Accelerator, directory: str | Path, rollout_directory: str | Path | None):
        self.accelerator = accelerator
        self.directory = Path(directory)
        self.rollout_directory = Path(rollout_directory) if rollout_directory else None
        if accelerator.is_main_process:
            for folder in filter(None, (self.directory, self.rollout_directory)):
                folder.mkdir(parents=True, exist_ok=True)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """One line of metrics.jsonl, and the same to the tracker."""
        self._append(self.directory / "metrics.jsonl", [{"step": step, **values}])
        self.accelerator.log(values, step=step)

    def samples(self, rows: list[dict[str, Any]], step: int, show: int = 3) -> None:
        """All of an evaluation's samples to samples.jsonl, the first few to the screen."""
        self._append(self.directory / "samples.jsonl", [{"step": step, **row} for row in rows])
        if self.accelerator.is_main_process:
            lines = [f"  {row['reward']:+.3f}  …{_end(row['prompt'], 40)} → {_end(row['output'], 200)}" for row in rows]
            tqdm.write("\n".join([f"samples at step {step} (reward, prompt → output)", *lines[:show]]))

    def rollouts(self, rows: list[dict[str, Any]], iteration: int) -> None:
        """A collection's rollouts, if `rollout_logging_dir` asks for them."""
        if self.rollout_directory:
            self._append(self.rollout_directory / f"rollouts_{iteration:06d}.jsonl", rows)

    def _append(self, path: Path, rows: list[dict[str, Any]]) -> None:
        if self.accelerator.is_main_process:
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def _end(text: str, length: int) -> str:
    return text[-length:].replace("\n", " ⏎ ")
