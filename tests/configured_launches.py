"""What run/test_configs.py launches: the files of configs/, and the smallest run of each stage."""

import json
from pathlib import Path
from typing import Any

from reward_model.reward_model import RewardModel
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.tokenizer import load_tokenizer

DEEPSPEED = ["zero2", "zero2_offload", "zero2_bf16", "zero3", "zero3_offload", "zero3_bf16"]
ACCELERATE = {  # machines and processes
    name: (name, machines, processes)
    for name, machines, processes in (
        ("cpu", 1, 2),
        ("1gpu", 1, 1),
        ("8gpus", 1, 8),
        ("8gpus_zero3", 1, 8),
        ("4nodes", 4, 32),
    )
}
# Launched by sft/test_train_sft.py, reward_model/test_train_reward_model.py and ppo/test_ppo_stage.py.
DOCUMENTED = {"default_accelerate_config.yaml", "ds_config_trlx_gptj_summarize.json"}


def values(stage: str) -> dict[str, Any]:
    """The arguments of one optimizer step of stage 1 or 2."""
    common = {"max_length": 120, "max_steps": 1, "global_batch_size": 4, "per_device_train_batch_size": 2}
    common |= {"max_train_rows": 8, "max_eval_rows": 4, "report_to": "none"}
    return common | ({"rouge_rows": 0} if stage == "sft" else {})


def make_reward_dir(directory: Path, model: Path) -> Path:
    """A reward model as stage 2 leaves it, with a random head."""
    reward, tokenizer = RewardModel.from_causal_lm(model), load_tokenizer(model)
    directory.mkdir()
    reward.save(directory)
    tokenizer.save_pretrained(directory)
    save_run(directory, run_record("rm", {}, tokenizer, 0, 150, {}))
    return directory


def overrides(model: Path, dataset: Path, folder: Path) -> str:
    """The overrides of one collection of stage 3, whose reward model is made here."""
    reward_dir = make_reward_dir(folder / "rm", model)
    return json.dumps(
        {
            "model.model_path": str(model),
            "model.num_layers_unfrozen": 1,
            "task.reward_model": str(reward_dir),
            "task.dataset": str(dataset),
            "task.max_train_prompts": 8,
            "task.max_eval_prompts": 2,
            "train.seq_length": 120,
            "train.epochs": 1,
            "train.batch_size": 2,
            "train.tracker": None,
            "train.checkpoint_dir": str(folder / "out"),
            "method.num_rollouts": 4,
            "method.num_minibatches": 1,
            "method.ppo_epochs": 1,
            "method.gen_kwargs": {"max_new_tokens": 4},
        }
    )
