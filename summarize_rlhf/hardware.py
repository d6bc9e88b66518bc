"""What a run stands on: versions, precision, the DeepSpeed configuration for this machine, the batch arithmetic."""

import collections
import functools
import importlib.metadata
import importlib.util
import json
import netrc
import os
import platform
import secrets
import shutil
import socket
import subprocess
import warnings
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from packaging.requirements import Requirement
from packaging.version import Version

from summarize_rlhf.errors import UserError
from summarize_rlhf.explicit import TRAINER, check_sections, clip_at, written_out

ROOT = Path(__file__).resolve().parents[1]
PYTHON_LEAST = "3.10"
TRACKERS = ["wandb", "tensorboard", "none"]
SCHEDULES = ["linear", "cosine", "constant_with_warmup", "constant", "polynomial", "inverse_sqrt"]


def requirements() -> list[Requirement]:
    """The tested range of each dependency, from the one list that also installs them."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


@functools.cache
def check_versions() -> None:
    """Once, at the start of a stage: every dependency within its tested range, and ``trlx`` the one in this repository.

    Raises one ``UserError`` that names all offenders.
    """
    faults = []
    if Version(platform.python_version()) < Version(PYTHON_LEAST):
        faults.append(f"Python {platform.python_version()} (needs {PYTHON_LEAST} or later)")
    for requirement in requirements():
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is missing (needs {requirement.specifier})")
            continue
        if not requirement.specifier.contains(Version(found).public, prereleases=True):
            faults.append(f"{requirement.name} {found} (needs {requirement.specifier})")
    if faults:
        raise UserError(f"untested versions: {'; '.join(faults)}. Run: pip install -r requirements.txt")
    spec = importlib.util.find_spec("trlx")
    if spec is None or spec.origin is None or not Path(spec.origin).resolve().is_relative_to(ROOT):
        found = spec.origin if spec else None
        raise UserError(
            f"'import trlx' would take {found or 'nothing'} instead of {ROOT / 'trlx'}. "
            f"Run: pip uninstall trlx; pip install -r requirements.txt"
        )


def versions() -> dict[str, str]:
    """Installed version of Python and of each dependency."""
    return {"python": platform.python_version()} | {r.name: importlib.metadata.version(r.name) for r in requirements()}


@functools.cache
def commit() -> str | None:
    """The repository's commit, with ``+`` where tracked files were changed since; ``None`` outside a clone."""
    try:
        git = ["git", "-C", str(ROOT)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
        return head + ("+" if changed.stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def machine() -> str:
    """The processor, its cores as this process sees them, and the GPU if there is one."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line for line in lines if "model name" in line]
    processor = models[0].split(":", 1)[1].strip() if models else platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {os.cpu_count()} cores{gpu}"


def precision() -> dict[str, bool]:
    """bf16 where the GPU has it, else fp16; on CPU neither, which is fp32. As arguments of TrainingArguments."""
    if not torch.cuda.is_available():
        return {"bf16": False, "fp16": False}
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return {"bf16": bf16, "fp16": not bf16}


def dtype() -> str:
    """The precision by the name that DeepSpeed has for it."""
    kind = precision()
    return "bf16" if kind["bf16"] else "fp16" if kind["fp16"] else "fp32"


def deepspeed_config(path: str | Path, **overrides: Any) -> dict[str, Any]:
    """The DeepSpeed file, made to fit this machine and written out (``explicit.py``); ``overrides`` replace its
    top-level keys.

    The files hold the published settings (fp16, optimizer offload). bf16 hardware gets a bf16 section instead
    of fp16. On CPU both go, and so does the offload: its Adam is compiled C++, torch's needs no compiler.
    ``UserError`` where there are a GPU and an offload, but no compiler.

    A relative path means the working directory, or else this repository, whose configurations name files so.
    """
    path = Path(path) if Path(path).exists() else ROOT / path
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
        check_sections(config)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the DeepSpeed file {path}: {error}") from error
    config |= overrides
    kind = precision()
    if not kind["fp16"]:
        config.pop("fp16", None)
    if kind["bf16"]:
        config["bf16"] = {**config.get("bf16", {}), "enabled": True}
    zero = dict(config.get("zero_optimization", {}))
    if not torch.cuda.is_available():
        zero.pop("offload_optimizer", None)
        zero.pop("offload_param", None)
        config["zero_optimization"] = zero
    elif "offload_optimizer" in zero and not (shutil.which("c++") or shutil.which("g++")):
        raise UserError(
            f"{path} offloads the optimizer, whose Adam DeepSpeed compiles at the start, but there is no C++ compiler "
            f"(g++): install one, or give --deepspeed_config a file without offload_optimizer"
        )
    return written_out(config, dtype())


def join_launch() -> None:
    """Call first in ``main``. Without a launcher this makes a launch of one process.

    So ``python script.py`` runs what ``deepspeed script.py`` runs.
    """
    settle_deepspeed()
    if "RANK" in os.environ:
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))


def settle_deepspeed() -> None:
    """Before DeepSpeed is used. On CPU it is told so instead of guessing, and that it has no compiled operations.

    Else it would compile its shared-memory all-reduce at the first start (40 s), and end with a traceback where there
    is no C++ compiler; gloo does the same. It probes for compilers only if its table is not there yet.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__ = collections.defaultdict(bool)
    # DeepSpeed on several processes still calls what torch has renamed.
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)


def trainer_arguments(deepspeed_file: str | Path, max_grad_norm: float | None = None) -> dict[str, Any]:
    """What the hardware decides of a TrainingArguments: precision, DeepSpeed, the process group, pinned memory.

    And what must not change with a release of theirs: ``explicit.TRAINER``, and where gradients are clipped.

    On CPU this joins the processes over gloo first: left alone, Accelerate would see a single one.
    """
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ.pop("ACCELERATE_USE_CPU", None)  # of `accelerate launch --cpu`: it would rule DeepSpeed out
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        PartialState(backend="gloo")
    config = deepspeed_config(deepspeed_file)
    config["gradient_clipping"] = clip_at(max_grad_norm, config["gradient_clipping"])
    return {
        **TRAINER,
        "deepspeed": config,
        "max_grad_norm": config["gradient_clipping"],
        "accelerator_config": {"use_configured_state": not on_gpu},
        "dataloader_pin_memory": on_gpu,
        **precision(),
    }


def world_size() -> int:
    """Number of processes of this launch (1 without a launcher)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def accumulation(global_batch: int, per_device: int, processes: int) -> int:
    """Micro-batches per optimizer step, so that ``processes`` × ``per_device`` × this = ``global_batch`` rows.

    Raises ``UserError``, with the nearest batches that divide, where it cannot be kept.
    """
    at_once = per_device * processes
    steps, rest = divmod(global_batch, at_once)
    if rest == 0 and steps > 0:
        return steps
    fits = [n for n in range(1, global_batch + 1) if global_batch % (n * processes) == 0]
    nearest = min(fits, key=lambda n: (abs(n - per_device), n), default=None)
    remedy = f"a per-device batch of {nearest} would do" if nearest else f"{processes} processes cannot share it evenly"
    below, above = max(steps, 1) * at_once, (steps + 1) * at_once
    raise UserError(
        f"a global batch of {global_batch} cannot be made of {processes} process(es) × {per_device} rows: {remedy}, "
        f"or a global batch of {below}{f' or {above}' if above != below else ''}"
    )


def quiet_wandb(directory: str | Path | None = None) -> None:
    """Let W&B log without ever asking: offline where nobody has logged in. Settings of the user's own come first.

    ``directory`` is where its files go (default: ``wandb/`` in the working directory).
    """
    if not os.environ.get("WANDB_API_KEY") and not _in_netrc("api.wandb.ai"):
        os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_SILENT", "true")
    if directory is not None:
        os.environ.setdefault("WANDB_DIR", str(directory))


_WANDB_IDS: set[str] = set()  # of the runs that this process has started


def wandb_run(folder: Path, goes_on: bool) -> dict[str, str]:
    """The arguments of `wandb.init` by which this training is one run of its own there. Call it on the first process.

    `folder` keeps the run's id: a training that goes on is the same run, not a new one. `WANDB_RUN_ID` of the user's
    own comes first; where one process trains several times, it belongs to the first run alone. What an earlier
    training of this process has left open is closed.
    """
    import wandb

    if wandb.run is not None and wandb.run.id in _WANDB_IDS:
        wandb.finish()
    file, own = folder / "wandb_run_id", os.environ.get("WANDB_RUN_ID")
    kept = file.read_text(encoding="utf-8") if goes_on and file.is_file() else None
    run_id = own if own and (own == kept or own not in _WANDB_IDS) else kept or secrets.token_hex(4)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(run_id, encoding="utf-8")
    _WANDB_IDS.add(run_id)
    return {"id": run_id, "resume": os.environ.get("WANDB_RESUME", "allow")}


def _in_netrc(host: str) -> bool:
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
