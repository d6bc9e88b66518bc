"""One process of a run of two_hosts.py: a launcher starts this in the stage's place.

The environment names the stage (STAGE: sft, rm or ppo) and the folder (FIGURES) that gets `<rank>.json`: at the end of
each optimizer step, and of each collection of PPO, the clock, what has left the host by its cable and by its loopback,
what this process has handed to collectives, and its memory.
"""

import functools
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from torch import nn  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from benchmarks.collectives import count_collectives  # noqa: E402
from benchmarks.stage_peak import begin, in_use  # noqa: E402
from summarize_rlhf.lm import speed  # noqa: E402
from summarize_rlhf.plan.setups import SCRIPTS  # noqa: E402
from summarize_rlhf.run.deepspeed_config import size_of  # noqa: E402
from summarize_rlhf.run.errors import main_guard  # noqa: E402
from trlx.trainer.ppo import AcceleratePPOTrainer  # noqa: E402

TRAINERS = {"sft": "SFTTrainer", "rm": "RewardTrainer"}
PHASES = {"make_experience": "collection", "update": "update"}  # of PPO's trainer
DEVICES = {"cable": "veth0", "loopback": "lo"}  # of a host of tests/hosts.py


def sent() -> dict[str, int]:
    """Return the bytes that have left this host so far, by device: those of all its processes."""
    counter = "/sys/class/net/{}/statistics/tx_bytes"
    return {name: int(Path(counter.format(device)).read_text(encoding="ascii")) for name, device in DEVICES.items()}


class Meter:
    """Write down each step's end, and the most memory up to the end of the first step and after it, in bytes.

    Of the memory, what was in use before a weight was loaded is taken off.
    """

    def __init__(self):
        self.figures: dict[str, Any] = {"steps": []}
        self.collectives: dict[str, int] = {}
        count_collectives(self.collectives)

    def begin(self) -> None:
        begin(self.figures)

    def model(self, model: nn.Module) -> None:
        weights = [(size_of(p), p.requires_grad) for p in model.parameters()]
        self.figures |= {"weights": sum(n for n, _ in weights), "trained": sum(n for n, trained in weights if trained)}

    def end_of(self, phase: str) -> None:
        """Note that a step ("update"), or a collection of rollouts, has just ended."""
        self.figures["steps"].append({"phase": phase, "seconds": time.perf_counter()} | sent() | self.collectives)
        most = in_use("VmHWM") - self.figures["before_with_files"]
        if phase == "update" and "most_at_start" not in self.figures:
            self.figures["most_at_start"] = most
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the kernel forgets the most so far
        self.figures["most"] = most

    def write(self) -> None:
        file = Path(os.environ["FIGURES"]) / f"{os.environ['RANK']}.json"
        file.write_text(json.dumps(self.figures), encoding="utf-8")


class Steps(TrainerCallback):
    """Tell the meter of a Trainer's steps."""

    def __init__(self, meter: Meter):
        self.meter = meter

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        self.meter.model(model)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.meter.end_of("update")


def watch_trainer(stage: Any, name: str, meter: Meter) -> None:
    """Let the meter follow the Trainer `name` of a stage's module."""
    trainer = getattr(stage, name)

    def metered(*args: Any, **kwargs: Any) -> Any:
        made = trainer(*args, **kwargs)
        made.add_callback(Steps(meter))
        return made

    setattr(stage, name, metered)


def watch_ppo(meter: Meter) -> None:
    """Let the meter follow PPO's collections and updates."""
    for name, phase in PHASES.items():
        setattr(AcceleratePPOTrainer, name, watched(getattr(AcceleratePPOTrainer, name), phase, meter))


def watched(method: Any, phase: str, meter: Meter) -> Any:
    """Return PPO's `method`, which tells the meter when it has ended."""

    @functools.wraps(method)
    def told(trainer: AcceleratePPOTrainer, *args: Any) -> Any:
        if not meter.figures["steps"]:
            meter.model(trainer.policy)
        result = method(trainer, *args)
        meter.end_of(phase)
        return result

    return told


@main_guard
def main() -> None:
    # What DeepSpeed's engine imports when it is built, 60 MB
    import deepspeed  # noqa: F401
    import torch._inductor.compile_fx  # noqa: F401

    name, meter = os.environ["STAGE"], Meter()
    speed.keep_freed_memory = lambda: None
    stage = importlib.import_module(SCRIPTS[name].removesuffix(".py").replace("/", "."))
    stage.check_memory = lambda *_, **__: meter.begin()
    watch_ppo(meter) if name == "ppo" else watch_trainer(stage, TRAINERS[name], meter)
    stage.main()
    meter.write()


if __name__ == "__main__":
    main()
