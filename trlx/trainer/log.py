"""Log a run: numbers to metrics.jsonl and the tracker, samples to samples.jsonl, a few of them to the screen."""

import json
import os
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm.auto import tqdm

from summarize_rlhf.run.files import disk_errors


class RunLog:
    """The run's log, which rank 0 alone writes. `directory` is the run's checkpoint directory.

    A new run starts its files anew; a resumed one cuts them back to where its checkpoint was written.
    """

    FILES = ("metrics.jsonl", "samples.jsonl")

    def __init__(self, accelerator: Accelerator, directory: str | Path, rollout_directory: str | Path | None):
        self.accelerator = accelerator
        self.directory = Path(directory)
        self.rollout_directory = Path(rollout_directory) if rollout_directory else None

    def start(self, resumed: bool) -> None:
        """Make the directories; a run that is not resumed removes the files of an earlier one."""
        if self.accelerator.is_main_process:
            for folder in filter(None, (self.directory, self.rollout_directory)):
                folder.mkdir(parents=True, exist_ok=True)
            for name in () if resumed else self.FILES:
                (self.directory / name).unlink(missing_ok=True)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Write a line of metrics.jsonl, and the same to the tracker."""
        self._write(self.directory / "metrics.jsonl", [{"step": step, **values}], "a")
        self.accelerator.log(values, step=step)

    def samples(self, rows: list[dict[str, Any]], step: int, show: int = 3) -> None:
        """Write all of an evaluation's samples to samples.jsonl, the first few to the screen."""
        self._write(self.directory / "samples.jsonl", [{"step": step, **row} for row in rows], "a")
        if self.accelerator.is_main_process:
            tqdm.write(f"samples at step {step} (reward, prompt → output)")
            for row in rows[:show]:
                reward = f"{row['reward']:+.3f}" if "reward" in row else ""
                tqdm.write(f"  {reward}  …{_end(row['prompt'], 40)} → {_end(row['output'], 200)}")

    def rollouts(self, rows: list[dict[str, Any]], iteration: int) -> None:
        """Write a collection's rollouts, if there is a `rollout_logging_dir`."""
        if self.rollout_directory:
            self._write(self.rollout_directory / f"rollouts_{iteration:06d}.jsonl", rows, "w")

    def _write(self, path: Path, rows: list[dict[str, Any]], mode: str) -> None:
        if self.accelerator.is_main_process:
            with disk_errors(path), open(path, mode, encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)

    def state_dict(self) -> dict[str, int]:
        """Return how long each file is, in bytes, all of them on disk."""
        paths = [self.directory / name for name in self.FILES]
        for path in filter(Path.exists, paths):
            with path.open("ab") as file:
                os.fsync(file.fileno())
        return {path.name: path.stat().st_size for path in paths if path.exists()}

    def load_state_dict(self, sizes: dict[str, int]) -> None:
        """Cut the files back to these lengths; what an interrupted run wrote later will be written again."""
        for name, size in sizes.items():
            path = self.directory / name
            if self.accelerator.is_main_process and path.exists() and path.stat().st_size > size:
                os.truncate(path, size)


def _end(text: str, length: int) -> str:
    return text[-length:].replace("\n", " ⏎ ")
