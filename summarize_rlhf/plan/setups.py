"""What decides a stage's memory, and the command that starts the stage so."""

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

from summarize_rlhf import UserError

STAGES = ("sft", "rm", "ppo")
FILES = {
    "sft": "sft/ds_config_gptj.json",
    "rm": "reward_model/ds_config_gpt_j.json",
    "ppo": "configs/ds_config_trlx_gptj_summarize.json",
}
WITHOUT_OFFLOAD = {
    "sft": "configs/deepspeed/zero2.json",
    "rm": "configs/deepspeed/zero2.json",
    "ppo": "configs/accelerate/8gpus.yaml",
}
SCRIPTS = {
    "sft": "sft/train_gptj_summarize.py",
    "rm": "reward_model/train_reward_model_gptj.py",
    "ppo": "trlx_gptj_text_summarization.py",
}
LORA = ("lora_r", "lora_dropout", "lora_target_modules", "merge_adapter")  # of stages 1 and 2, and of a `Setup`
ELSEWHERE = "elsewhere"  # a reward model on a GPU of its own
DEVICES = re.compile(r"(\d+)x(cpu|\d+(?:\.\d+)?)")
MOST = 1024  # GPUs: DeepSpeed looks at the share of each


@dataclass(frozen=True)
class Setup:
    """What decides a stage's memory."""

    stage: str
    gpus: int  # without GPUs: processes
    size: float | None  # GB of each GPU; None: there are none, and all is in main memory
    precision: str
    offload: bool  # of the optimizer to main memory
    batch: int  # rows (RM: pairs, PPO: rollouts) in a forward pass
    checkpointing: bool
    tokens: int  # of the longest rows
    file: str | None = None  # DeepSpeed's; None: the stage's own
    trainable_fraction: float = 0.3  # of stage 2's blocks
    keeps_trunk: bool = True  # stage 2 runs the frozen blocks once before it trains, many pairs at a time
    overrides: str = "{}"  # of stage 3's configuration, as JSON
    reward_model: str | None = None  # of stage 3; None: one as large as the policy
    lora_r: int = 0  # rank of an adapter that alone is trained; 0: none
    lora_dropout: float = 0.0
    lora_target_modules: str | None = None
    merge_adapter: bool = False

    @property
    def processes(self) -> int:
        """Of two GPUs, PPO gives one to the reward model, as published; otherwise each GPU has a process."""
        return 1 if self.stage == "ppo" and self.gpus == 2 and self.size is not None else self.gpus

    @property
    def devices(self) -> str:
        """Say what the stage runs on."""
        return f"{self.gpus} × {'CPU' if self.size is None else f'{self.size:g}'}"


def devices_in(text: str) -> tuple[int, float | None]:
    """Read `--gpus`: how many, and how many GB each has. Raises `UserError`."""
    found = DEVICES.fullmatch(text)
    size = None if not found or found[2] == "cpu" else float(found[2])
    if not found or int(found[1]) < 1 or size == 0:
        raise UserError(
            f"--gpus is {text!r}: number and size in GB are expected, such as 2x24, or 1xcpu for a process without GPU"
        )
    if int(found[1]) > MOST:
        raise UserError(f"--gpus is {text!r}: {MOST} GPUs or processes are the most that are planned")
    return int(found[1]), size


def flags(setup: Setup) -> dict[str, Any]:
    """Return the stage's own arguments that make it run as planned, by their names."""
    if setup.stage == "ppo":
        return {
            "train.minibatch_size": setup.batch,
            "train.precision": setup.precision,
            "train.gradient_checkpointing": setup.checkpointing,
            "train.seq_length": setup.tokens,
            **json.loads(setup.overrides),
            **({"model.peft_config": peft_config(setup)} if setup.lora_r else {}),
        }
    named = {"per_device_train_batch_size": setup.batch, "max_length": setup.tokens}
    named |= {"precision": setup.precision, "gradient_checkpointing": setup.checkpointing}
    if setup.stage == "rm" and setup.trainable_fraction != Setup.trainable_fraction:
        named["trainable_fraction"] = setup.trainable_fraction
    if setup.stage == "rm" and not setup.keeps_trunk:
        named["trunk_cache_gb"] = 0
    if file := file_of(setup):
        named["deepspeed_config"] = file
    if setup.lora_r:
        named |= {name: x for name in LORA if (x := getattr(setup, name))}
        if setup.lora_target_modules:
            named["lora_target_modules"] = ",".join(targets_of(setup))
    return named


def file_of(setup: Setup) -> str | None:
    """Return the DeepSpeed file to start with; None: the stage's own."""
    return setup.file or (None if setup.offload or setup.size is None else WITHOUT_OFFLOAD[setup.stage])


def peft_config(setup: Setup) -> dict[str, Any]:
    """Return stage 3's `model.peft_config` of an adapter as stages 1 and 2 describe it."""
    given = {"peft_type": "LORA", "r": setup.lora_r, "lora_dropout": setup.lora_dropout}
    return given | ({"target_modules": targets_of(setup)} if setup.lora_target_modules else {})


def targets_of(setup: Setup) -> list[str]:
    """Return the layers that get an adapter, by the ends of their names."""
    return [name.strip() for name in setup.lora_target_modules.split(",")]


def command(model: str, setup: Setup) -> str:
    """Return the command that starts a stage as planned."""
    script, named = SCRIPTS[setup.stage], flags(setup)
    if setup.stage == "ppo":
        file = file_of(setup) or "configs/default_accelerate_config.yaml"
        given = "--use_deepspeed --deepspeed_config_file" if setup.file else "--config_file"
        return (
            f"accelerate launch --num_processes {setup.processes} {given} {file} "
            f"{script} {shlex.quote(json.dumps({'model.model_path': model} | named))}"
        )
    return f"deepspeed --num_gpus {setup.gpus} {script} " + " ".join(
        f"--{name} {shlex.quote(str(x))}" for name, x in ({"model": model} | named).items()
    )
