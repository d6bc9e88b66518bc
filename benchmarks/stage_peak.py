"""Run a stage and write the main memory that its tensors took: a launcher starts this in the stage's place.

The environment names the stage (STAGE: sft, rm or ppo) and the file for the figures (PEAK). Measured is the most memory
that the process had and that is no file's (anonymous_memory.py), and what of it there is when the stage asks the
planner, before a weight is loaded: Python, libraries and the tokenizer. Freed memory goes back to the system at once
here, which costs time, so that the peak is that of what is in use.
"""

import ctypes
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.anonymous_memory import anonymous  # noqa: E402
from summarize_rlhf.lm import speed  # noqa: E402
from summarize_rlhf.plan.setups import SCRIPTS  # noqa: E402
from summarize_rlhf.run.errors import main_guard  # noqa: E402


def in_use(name: str) -> int:
    """Return the bytes of a line of this process's status, VmRSS (now) or VmHWM (the most so far)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def rehearse() -> None:
    """Train a tiny model for a step: what libraries allocate for themselves at their first use is there then."""
    model = nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256), nn.GELU(), nn.Linear(256, 256))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    rows = torch.randn(4, 64, 256)
    attended = nn.functional.scaled_dot_product_attention(model(rows), rows, rows, is_causal=True)
    attended.square().mean().backward()
    optimizer.step()


def begin(figures: dict[str, int]) -> None:
    """Note what is in use, and let the kernel forget the most so far."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    figures |= {"before": anonymous(), "before_with_files": in_use("VmRSS")}


@main_guard
def main() -> None:
    # What DeepSpeed's engine imports when it is built, 60 MB
    import deepspeed  # noqa: F401
    import torch._inductor.compile_fx  # noqa: F401

    figures: dict[str, int] = {}
    speed.keep_freed_memory = lambda: None
    rehearse()
    watcher = subprocess.Popen(
        [sys.executable, ROOT / "benchmarks/anonymous_memory.py", str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    stage = importlib.import_module(SCRIPTS[os.environ["STAGE"]].removesuffix(".py").replace("/", "."))
    stage.check_memory = lambda *_, **__: begin(figures)
    stage.main()
    figures |= {"most": int(watcher.communicate()[0]), "most_with_files": in_use("VmHWM")}
    if os.environ["RANK"] == "0":
        Path(os.environ["PEAK"]).write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
