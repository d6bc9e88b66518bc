"""Experiment trackers: W&B that never asks, one run for one training, the stages together, tables of samples."""

import importlib.util
import netrc
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE, read_run
from summarize_rlhf.reading import printable
from summarize_rlhf.run import kept

TRACKERS = ["wandb", "tensorboard", "trackio", "none"]
PROJECT = "summarize_RLHF"  # of all stages, at W&B and Trackio
TABLE_ROWS = 64  # of a table of samples; samples.jsonl has them all
RUN_ID = "wandb_run_id"  # kept in the run's directory
_WANDB_IDS: set[str] = set()  # of the runs that this process has started


def quiet_wandb(directory: str | Path | None = None) -> None:
    """Let W&B log without ever asking: offline where nobody has logged in. The user's own settings come first.

    ``directory`` is where its files go (default: ``wandb/`` in the working directory).
    """
    if not os.environ.get("WANDB_API_KEY") and not _in_netrc("api.wandb.ai"):
        os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_SILENT", "true")
    if directory is not None:
        os.environ.setdefault("WANDB_DIR", str(directory))


def check_tracker(name: str | None) -> None:
    """Raise `UserError` where the tracker that is asked for is not installed. Call it before anything is loaded."""
    if name == "trackio" and importlib.util.find_spec("trackio") is None:
        raise UserError(
            "the tracker trackio is not installed: pip install trackio, or choose wandb, tensorboard or none"
        )


def run_name(asked: str | None, output_dir: str | Path, source: str | Path | None = None) -> str:
    """Return the name that the stages of one run share, as their group at the tracker.

    It is what was `asked` for, else that of the stage which wrote the model `source`, else that of the folder in which
    `output_dir` lies.
    """
    if asked:
        return asked
    record = read_run(source) if source and (Path(source) / RUN_FILE).is_file() else None
    return (record or {}).get("run_name") or Path(output_dir).resolve().parent.name or PROJECT


def log_table(tracker: str, run: Any, name: str, rows: Sequence[Mapping[str, Any]], step: int | None = None) -> None:
    """Show the first rows, of which each has the columns of the first, as a table in the tracker's open `run`.

    `run` is W&B's or Trackio's run, or TensorBoard's SummaryWriter. Call it on the first process.
    """
    rows = rows[:TABLE_ROWS]
    if not rows:
        return
    columns = list(rows[0])
    if tracker == "wandb":
        import wandb

        run.log({name: wandb.Table(columns=columns, data=[[row[c] for c in columns] for row in rows])}, step=step)
    elif tracker == "trackio":
        import pandas
        import trackio

        run.log({name: trackio.Table(dataframe=pandas.DataFrame(list(rows), columns=columns))}, step=step)
    elif tracker == "tensorboard":
        lines = [columns, ["---"] * len(columns), *([_cell(row[c]) for c in columns] for row in rows)]
        run.add_text(name, "\n".join(f"| {' | '.join(line)} |" for line in lines), global_step=step)


def _cell(value: Any) -> str:
    """Return a cell of the Markdown that TensorBoard shows: text that it neither breaks at nor takes for HTML."""
    text = f"{value:.3f}" if isinstance(value, float) else printable(" ".join(str(value).split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")


def wandb_run(folder: Path, goes_on: bool) -> dict[str, str]:
    """Return the arguments of `wandb.init` that make this training one W&B run. Call it on the first process.

    `folder` keeps the run's id: a training that goes on is the same run, not a new one. The user's `WANDB_RUN_ID` comes
    first; where one process trains several times, it belongs to the first run alone. A run that an earlier training of
    this process has left open is closed.
    """
    import wandb

    if wandb.run is not None and wandb.run.id in _WANDB_IDS:
        wandb.finish()
    own = os.environ.get("WANDB_RUN_ID")
    known = kept.read_value(folder / RUN_ID) if goes_on else None
    run_id = own if own and (own == known or own not in _WANDB_IDS) else known or secrets.token_hex(4)
    kept.write_value(folder / RUN_ID, run_id)
    _WANDB_IDS.add(run_id)
    return {"id": run_id, "resume": os.environ.get("WANDB_RESUME", "allow")}


def _in_netrc(host: str) -> bool:
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
