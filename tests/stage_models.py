"""Tiny models as stages 1, 2 and 3 hand them on."""

from pathlib import Path

import torch
from tiny import make_model_dir
from torch import nn

from reward_model.reward_model import RewardModel
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.run.files import write_directory
from summarize_rlhf.tokenizer import load_tokenizer

ROOM = 70  # tokens of prompt and summary


def model_of_stage(folder: Path, stage: str, seed: int) -> Path:
    make_model_dir(folder, seed=seed)
    save_run(folder, run_record(stage, {}, load_tokenizer(folder), 0, ROOM, {}))
    return folder


def reward_model(folder: Path, base: Path, tokenizer=None) -> Path:
    """Its head scaled so that scores differ clearly."""
    model, tokenizer = RewardModel.from_causal_lm(base), tokenizer or load_tokenizer(base)
    nn.init.normal_(model.v_head.weight, generator=torch.Generator().manual_seed(0))
    with write_directory(folder) as tmp:
        model.save(tmp)
        tokenizer.save_pretrained(tmp)
        save_run(tmp, run_record("rm", {}, tokenizer, 0, 150, {}))
    return folder
