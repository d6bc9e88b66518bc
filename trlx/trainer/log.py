"""Log a run: numbers to metrics.jsonl and the tracker, samples to samples.jsonl, a few of them to the screen."""

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm.auto import tqdm

from summarize_rlhf.reading import printable
from summarize_rlhf.run.files import write_file
from summarize_rlhf.run.json_lines import EMPTY, JsonLines
from summarize_rlhf.run.trackers import log_table


class RunLog:
    """The run's log, which rank 0 alone writes. `directory` is the run's checkpoint directory.

    A new run starts its files anew; a resumed one cuts them back to where its checkpoint was written.
    """

    def __init__(self, accelerator: Accelerator, directory: str | Path, rollout_directory: str | Path | None):
        self.accelerator = accelerator
        self.directory = Path(directory)
        self.rollout_directory = Path(rollout_directory) if rollout_directory else None
        self.files = {name: JsonLines(self.directory / f"{name}.jsonl") for name in ("metrics", "samples")}

    def start(self, resumed: bool) -> None:
        """Make the directories; a run that is not resumed removes the files of an earlier one."""
        if self.accelerator.is_main_process:
            for folder in filter(None, (self.directory, self.rollout_directory)):
                folder.mkdir(parents=True, exist_ok=True)
            for file in () if resumed else self.files.values():
                file.restore(EMPTY)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Write a line of metrics.jsonl, and the same to the tracker."""
        if self.accelerator.is_main_process:
            self.files["metrics"].append([{"step": step, **values}])
        self.accelerator.log(values, step=step)

    def samples(self, rows: list[dict[str, Any]], step: int, show: int = 3) -> None:
        """Write an evaluation's samples to samples.jsonl, a table of them to the tracker, a few to the screen."""
        if self.accelerator.is_main_process:
            self.files["samples"].append({"step": step, **row} for row in rows)
            for tracker in self.accelerator.trackers:
                log_table(tracker.name, tracker.tracker, "samples", rows, step)
            tqdm.write(f"samples at step {step} (reward, prompt → output)")
            for row in rows[:show]:
                reward = f"{row['reward']:+.3f}" if "reward" in row else ""
                tqdm.write(f"  {reward}  …{_end(row['prompt'], 40)} → {_end(row['output'], 200)}")

    def rollouts(self, rows: list[dict[str, Any]], iteration: int) -> None:
        """Write a collection's rollouts, if there is a `rollout_logging_dir`."""
        if self.rollout_directory and self.accelerator.is_main_process:
            lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
            write_file(self.rollout_directory / f"rollouts_{iteration:06d}.jsonl", "".join(lines))

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return size and hash of each file, all of it on disk."""
        return {name: file.state() for name, file in self.files.items()}

    def load_state_dict(self, states: dict[str, dict[str, Any]]) -> None:
        """Cut the files back to these states; what an interrupted run wrote later will be written again."""
        if self.accelerator.is_main_process:
            for name, state in states.items():
                self.files[name].restore(state)


def _end(text: str, length: int) -> str:
    return printable(text[-length:].replace("\n", " ⏎ "))
