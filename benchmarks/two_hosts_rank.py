"""One process of a run of two_hosts.py: a launcher starts this in the stage's place.

The environment names the stage (STAGE: sft or rm) and the folder (FIGURES) that gets `<rank>.json`: at the end of each
optimizer step the clock, what has left the host by its cable and by its loopback, what this process has handed to
collectives, and its memory.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from transformers import TrainerCallback  # noqa: E402

from benchmarks.collectives import count_collectives  # noqa: E402
from benchmarks.stage_peak import begin, in_use  # noqa: E402
from summarize_rlhf.lm import speed  # noqa: E402
from summarize_rlhf.plan.setups import SCRIPTS  # noqa: E402
from summarize_rlhf.run.deepspeed_config import size_of  # noqa: E402

TRAINERS = {"sft": "SFTTrainer", "rm": "RewardTrainer"}
DEVICES = {"cable": "veth0", "loopback": "lo"}  # of a host of tests/hosts.py


def sent() -> dict[str, int]:
    """Return the bytes that have left this host so far, by device: those of all its processes."""
    counter = "/sys/class/net/{}/statistics/tx_bytes"
    return {name: int(Path(counter.format(device)).read_text(encoding="ascii")) for name, device in DEVICES.items()}


class Meter(TrainerCallback):
    """Write down each step's end, and the most memory up to the end of the first step and after it, in bytes.

    Of the memory, what was in use before a weight was loaded is taken off.
    """

    def __init__(self, figures: dict[str, Any], collectives: dict[str, int]):
        self.figures, self.collectives = figures | {"steps": []}, collectives

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        weights = [(size_of(p), p.requires_grad) for p in model.parameters()]
        self.figures |= {"weights": sum(n for n, _ in weights), "trained": sum(n for n, trained in weights if trained)}

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.figures["steps"].append({"seconds": time.perf_counter()} | sent() | self.collectives)
        most = in_use("VmHWM") - self.figures["before_with_files"]
        if state.global_step == 1:
            self.figures["most_at_start"] = most
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the kernel forgets the most so far
        else:
            self.figures["most"] = most

    def on_train_end(self, args, state, control, **kwargs) -> None:
        file = Path(os.environ["FIGURES"]) / f"{args.process_index}.json"
        file.write_text(json.dumps(self.figures), encoding="utf-8")


def main() -> None:
    # What DeepSpeed's engine imports when it is built, 60 MB
    import deepspeed  # noqa: F401
    import torch._inductor.compile_fx  # noqa: F401

    name, figures, collectives = os.environ["STAGE"], {}, {}
    count_collectives(collectives)
    speed.keep_freed_memory = lambda: None
    stage = importlib.import_module(SCRIPTS[name].removesuffix(".py").replace("/", "."))
    stage.check_memory = lambda *_, **__: begin(figures)
    trainer = getattr(stage, TRAINERS[name])

    def metered(*args: Any, **kwargs: Any) -> Any:
        made = trainer(*args, **kwargs)
        made.add_callback(Meter(figures, collectives))
        return made

    setattr(stage, TRAINERS[name], metered)
    stage.main()


if __name__ == "__main__":
    main()
