"""DeepSpeed's buckets are no larger than what they hold: it allocates the published 5e8 numbers whatever the model."""

import json
import os
from pathlib import Path

import pytest
import torch
from forked import forked, run_main
from tiny_trlx import tiny_config, tiny_trainer
from torch import nn

from summarize_rlhf.run.deepspeed_config import fit_buckets

PUBLISHED = {"reduce_bucket_size": 5e8, "stage3_prefetch_bucket_size": 5e7, "stage3_max_live_parameters": 1e9}


def test_by_hand() -> None:
    model = nn.Sequential(nn.Linear(10, 20, bias=False), nn.Linear(20, 5, bias=False))
    model[0].requires_grad_(False)
    config = {"zero_optimization": dict(PUBLISHED)}
    fit_buckets(config, model)
    fitted = {"reduce_bucket_size": 100, "stage3_prefetch_bucket_size": 300}
    assert config == {"zero_optimization": PUBLISHED | fitted}
    small = {"zero_optimization": {"reduce_bucket_size": 50, "stage3_prefetch_bucket_size": "auto"}}
    fit_buckets(small, model)
    assert small == {"zero_optimization": {"reduce_bucket_size": 50, "stage3_prefetch_bucket_size": "auto"}}
    without = {"train_batch_size": 1}
    fit_buckets(without, model)
    assert without == {"train_batch_size": 1}


def test_what_zero_3_keeps_in_other_processes_counts() -> None:
    model = nn.Linear(10, 20, bias=False)
    model.weight.data, model.weight.ds_numel = torch.empty(0), 200
    config = {"zero_optimization": dict(PUBLISHED)}
    fit_buckets(config, model)
    fitted = {"reduce_bucket_size": 200, "stage3_prefetch_bucket_size": 200}
    assert config == {"zero_optimization": PUBLISHED | fitted}


def sft(model: Path, data: Path, out: Path) -> tuple[float, int]:
    """The bucket of stage 1, and the number of its weights."""
    from transformers import Trainer, TrainerCallback

    from sft import train_gptj_summarize as stage

    found = []

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, model, optimizer, **kwargs):
            found.append((optimizer.optimizer.reduce_bucket_size, sum(p.numel() for p in model.parameters())))

    train = Trainer.train
    Trainer.train = lambda self, **options: (self.add_callback(Look()), train(self, **options))[1]
    values = {"model": model, "dataset": data, "output_dir": out, "max_steps": 1, "global_batch_size": 4}
    values |= {"per_device_train_batch_size": 4, "max_length": 100, "report_to": "none", "rouge_rows": 0}
    run_main(stage.main, values | {"keep": "last"})
    return found[0]


def ppo(model: Path, data: Path, out: Path) -> tuple[float, int]:
    """The bucket of stage 3, and the number of weights that train."""
    file = out.parent / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 2}, "gradient_accumulation_steps": 1}))
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(file)}
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(29000 + os.getpid() % 3000)
    trainer = tiny_trainer(tiny_config(model, out))
    trained = sum(p.numel() for p in trainer.policy.parameters() if p.requires_grad)
    return trainer.model.optimizer.reduce_bucket_size, trained


@pytest.mark.parametrize("stage", [sft, ppo], ids=lambda stage: stage.__name__)
def test_a_stage_allocates_what_it_trains(stage, gptj_dir, tldr_dir, tmp_path) -> None:
    size, trained = forked(stage, gptj_dir, tldr_dir, tmp_path / "out")
    assert 0 < size == trained < 1e6
