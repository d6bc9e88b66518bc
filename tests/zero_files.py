"""DeepSpeed files for tests: a section for ZeRO, and the batch sizes that the stage asks for."""

import json
from pathlib import Path
from typing import Any

AUTO = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
ZERO = {
    "0": {"stage": 0},
    "1": {"stage": 1},
    "2": {"stage": 2},
    "3": {"stage": 3, "stage3_param_persistence_threshold": 0},  # also of small weights each process has a piece
}


def zero_file(path: Path, section: dict[str, Any]) -> Path:
    """Write a file of stages 1 and 2 whose ZeRO is as in `section`."""
    path.write_text(json.dumps(dict.fromkeys(AUTO, "auto") | {"zero_optimization": section}), encoding="utf-8")
    return path
