"""Good inputs of each stage, which bad_input.py and its tables spoil one at a time."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch import flags

from reward_model.reward_model import RewardModel
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.run.files import write_directory
from summarize_rlhf.tokenizer import load_tokenizer

Values = dict[str, Any]
Fault = Callable[["World", Path], Values]


class World:
    """Good inputs of all stages, to be spoilt one at a time."""

    def __init__(self, folder: Path, model: Path, tldr: Path, pairs: Path):
        self.sft, self.rm, self.tldr, self.pairs = folder / "sft", folder / "rm", tldr, pairs
        shutil.copytree(model, self.sft)
        tokenizer = load_tokenizer(model)
        save_run(self.sft, run_record("sft", {}, tokenizer, 0, 120, {}))
        with write_directory(self.rm) as tmp:
            RewardModel.from_causal_lm(model).save(tmp)
            tokenizer.save_pretrained(tmp)
            save_run(tmp, run_record("rm", {}, tokenizer, 0, 120, {}))

    def values(self, stage: str, out: Path) -> Values:
        common = {"max_length": 120, "global_batch_size": 8, "per_device_train_batch_size": 4, "report_to": "none"}
        if stage == "sft":
            return {"model": self.sft, "dataset": self.tldr, "output_dir": out / "out", **common}
        if stage == "rm":
            return {"model": self.sft, "dataset": self.pairs, "output_dir": out / "out", **common}
        return {
            "model": self.sft, "reward_model": self.rm, "dataset": self.tldr, "output_dir": out / "out",
            "train.seq_length": 120, "method.gen_kwargs.max_new_tokens": 12, "train.tracker": None,
        }  # fmt: skip


PPO_NAMES = {"model": "model.model_path", "reward_model": "task.reward_model", "dataset": "task.dataset"}
PPO_NAMES |= {"output_dir": "train.checkpoint_dir", "tokenizer": "tokenizer.tokenizer_path"}


def arguments(stage: str, values: Values) -> list[str]:
    if stage != "ppo":
        return flags(values)
    named = {PPO_NAMES.get(name, name): str(x) if isinstance(x, Path) else x for name, x in values.items()}
    return [json.dumps(named)]
