"""Runs of stages 1 and 2 with an adapter, on the smallest models: arguments and what they leave."""

from pathlib import Path

import torch
from forkserver import ForkServer
from launch import flags

LORA = {"lora_r": 4, "lora_alpha": 8}
COMMON = {
    "max_length": 120,
    "num_train_epochs": 2,
    "global_batch_size": 4,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-2,
    "adam_epsilon": 1e-3,
    "warmup_steps": 2,
    "eval_steps": 3,
    "save_steps": 2,
    "logging_steps": 1,
    "report_to": "none",
    "seed": 5,
}
OWN = {"sft": {"rouge_rows": 2, "max_new_tokens": 6}, "rm": {"trainable_fraction": 1.0}}
IDS = torch.tensor([[5, 6, 7, 8, 9, 30, 40, 50], [9, 8, 7, 6, 5, 50, 40, 30]])


def train(server: ForkServer, stage: str, model: Path, data: Path, out: Path, processes: int = 0, **more) -> Path:
    """Run a stage with an adapter; return the directory that it wrote."""
    values = COMMON | OWN[stage] | LORA | {"model": model, "dataset": data, "output_dir": out} | more
    ended = server.run(stage, flags(values), out.parent, processes)
    assert ended.code == 0, ended.err[-3000:]
    return out
