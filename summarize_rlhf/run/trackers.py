"""Experiment trackers: W&B that never asks, and one run of it for one training."""

import netrc
import os
import secrets
from pathlib import Path

from summarize_rlhf.run import kept

TRACKERS = ["wandb", "tensorboard", "none"]
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
