"""The versions of the dependencies, the commit and the machine that a result was computed with.

And whether these versions are ones that the repository was tested on.
"""

import functools
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from pathlib import Path

import torch
from packaging.requirements import Requirement
from packaging.version import Version

from summarize_rlhf import UserError

ROOT = Path(__file__).resolve().parents[1]
PYTHON_LEAST = "3.10"


def requirements() -> list[Requirement]:
    """Return the tested range of each dependency, from the one list that also installs them."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


@functools.cache
def check_versions() -> None:
    """Check at the start of a stage that dependencies are in their tested ranges and ``trlx`` is this repository's.

    Raises one ``UserError`` that names all that are missing or below their range. Above it one line warns: what was
    released since may well work.
    """
    faults, later = [], []
    if Version(platform.python_version()) < Version(PYTHON_LEAST):
        faults.append(f"Python {platform.python_version()} (tested {PYTHON_LEAST} or later)")
    for requirement in requirements():
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is missing (tested {requirement.specifier})")
            continue
        if not requirement.specifier.contains(Version(found).public, prereleases=True):
            below = any(
                Version(found) < Version(bound.version) for bound in requirement.specifier if ">" in bound.operator
            )
            (faults if below else later).append(f"{requirement.name} {found} (tested {requirement.specifier})")
    if faults:
        raise UserError(f"too old: {'; '.join(faults)}. Run: pip install -r requirements.txt")
    if later and os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"note: later than what was tested: {'; '.join(later)}. If something fails, try: "
              "pip install -r requirements.txt", flush=True)  # fmt: skip
    spec = importlib.util.find_spec("trlx")
    if spec is None or spec.origin is None or not Path(spec.origin).resolve().is_relative_to(ROOT):
        found = spec.origin if spec else None
        raise UserError(
            f"'import trlx' would take {found or 'nothing'} instead of {ROOT / 'trlx'}. "
            f"Run: pip uninstall trlx; pip install -r requirements.txt"
        )


def versions() -> dict[str, str]:
    """Return the installed version of Python and of each dependency."""
    return {"python": platform.python_version()} | {r.name: importlib.metadata.version(r.name) for r in requirements()}


@functools.cache
def commit() -> str | None:
    """Return the repository's commit, with ``+`` if tracked files have changed since; ``None`` outside a clone."""
    try:
        git = ["git", "-C", str(ROOT)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
        return head + ("+" if changed.stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def machine() -> str:
    """Describe the processor, its cores as this process sees them, and the GPU if there is one."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line for line in lines if "model name" in line]
    processor = models[0].split(":", 1)[1].strip() if models else platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {os.cpu_count()} cores{gpu}"
