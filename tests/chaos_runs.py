"""The runs that chaos.py kills: each stage by its launcher, on data and models of seconds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from launch import BIN, flags, free_port
from tiny import make_comparisons, make_model_dir, make_tldr

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = {
    "sft": "sft/train_gptj_summarize.py",
    "rm": "reward_model/train_reward_model_gptj.py",
    "ppo": "trlx_gptj_text_summarization.py",
}


class Case(NamedTuple):
    """A run: what is started on how many processes, where its checkpoints appear, what it leaves."""

    stage: str
    arguments: list[str]
    processes: int
    checkpoints: Path
    weights: list[Path]
    logs: list[Path]


def sft(inputs: Path, out: Path, processes: int) -> Case:
    arguments = {
        "model": inputs / "model", "dataset": inputs / "tldr", "output_dir": out / "sft", "max_length": 100,
        "global_batch_size": 16, "per_device_train_batch_size": 4, "num_train_epochs": 10, "learning_rate": 0.1,
        "warmup_steps": 2, "eval_steps": 7, "save_steps": 3, "logging_steps": 2, "rouge_rows": 4, "report_to": "none",
    }  # fmt: skip
    return Case(
        "sft",
        flags(arguments),
        processes,
        checkpoints=out / "sft-steps",
        weights=[out / "sft/model.safetensors"],
        logs=[out / "sft/metrics.jsonl"],
    )


def rm(inputs: Path, out: Path, processes: int) -> Case:
    arguments = {
        "model": inputs / "model", "dataset": inputs / "pairs", "output_dir": out / "rm", "max_length": 120,
        "global_batch_size": 8, "per_device_train_batch_size": 4, "num_train_epochs": 6, "learning_rate": 3e-3,
        "warmup_steps": 2, "trainable_fraction": 0.5, "eval_steps": 7, "save_steps": 3, "logging_steps": 2,
        "report_to": "none",
    }  # fmt: skip
    return Case(
        "rm",
        flags(arguments),
        processes,
        checkpoints=out / "rm-steps",
        weights=[out / "rm/model.safetensors"],
        logs=[out / "rm/metrics.jsonl"],
    )


def ppo(inputs: Path, out: Path, processes: int) -> Case:
    changes = {
        "model.model_path": str(inputs / "model"), "task.reward_model": str(inputs / "rm"),
        "task.dataset": str(inputs / "tldr"), "train.checkpoint_dir": str(out / "ppo"), "train.tracker": None,
        "train.seq_length": 120, "train.epochs": 6, "train.eval_interval": 10, "train.checkpoint_interval": 4,
        "method.num_rollouts": 16 * processes, "method.chunk_size": 8, "method.gen_kwargs.max_new_tokens": 12,
        "method.scale_reward": "running", "optimizer.kwargs.lr": 1e-2, "model.num_layers_unfrozen": 1,
    }  # fmt: skip
    last = [out / "ppo/last/hf_model" / name for name in ("model.safetensors", "value_head.safetensors")]
    return Case(
        "ppo",
        [json.dumps(changes)],
        processes,
        checkpoints=out / "ppo",
        weights=[out / "ppo/best_checkpoint/hf_model/model.safetensors", *last],
        logs=[out / "ppo/metrics.jsonl", out / "ppo/samples.jsonl"],
    )


def command(case: Case) -> list[str]:
    """The documented launch, on a free port."""
    if case.stage == "ppo":
        launcher = ["accelerate", "launch", "--config_file", ROOT / "configs/default_accelerate_config.yaml"]
        launcher += ["--num_processes", case.processes, "--main_process_port", free_port()]
    else:
        launcher = ["deepspeed", "--num_gpus", case.processes, "--master_port", free_port()]
    return [str(BIN / launcher[0]), *map(str, launcher[1:]), str(ROOT / SCRIPTS[case.stage]), *case.arguments]


STAGES: dict[str, Callable[[Path, Path, int], Case]] = {"sft": sft, "rm": rm, "ppo": ppo}


def make_inputs(folder: Path) -> Path:
    """A tiny model, both data sets, and a reward model for stage 3."""
    from reward_model.reward_model import RewardModel
    from summarize_rlhf.handover import run_record, save_run
    from summarize_rlhf.run.files import write_directory
    from summarize_rlhf.tokenizer import load_tokenizer

    make_model_dir(folder / "model")
    make_tldr(folder / "tldr")
    make_comparisons(folder / "pairs")
    model, tokenizer = RewardModel.from_causal_lm(folder / "model"), load_tokenizer(folder / "model")
    torch.nn.init.normal_(model.v_head.weight)
    with write_directory(folder / "rm") as tmp:
        model.save(tmp)
        tokenizer.save_pretrained(tmp)
        save_run(tmp, run_record("rm", {}, tokenizer, 0, 150, {}))
    return folder
