"""Under DeepSpeed's bf16 every trained weight has a copy in fp32, which takes the steps that bf16 would round away."""

import json
import os
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import forked, run_main
from tiny_trlx import tiny_config, tiny_trainer
from torch import Tensor, nn

from summarize_rlhf.run import zero3

LR = 5e-6  # of PPO, as published
STEPS = 4


def look(model: nn.Module, optimizer: Any) -> list[tuple[Tensor, Tensor]]:
    """Of each trained weight: what the model computes with, and what DeepSpeed's optimizer keeps of it in fp32."""
    from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer
    from deepspeed.utils import safe_get_full_fp32_param

    if isinstance(optimizer, FP16_UnfusedOptimizer):  # without ZeRO, for bf16 too
        pairs = zip(chain(*optimizer.fp16_groups), chain(*optimizer.fp32_groups), strict=True)
        return [(computed.detach().clone(), master.detach().clone()) for computed, master in pairs]
    found = []
    for parameter in [p for p in model.parameters() if p.requires_grad]:
        with zero3.gathered_parameter(parameter):
            found.append((parameter.detach().clone(), safe_get_full_fp32_param(parameter).clone()))
    return found


def figures(before: list, after: list) -> dict[str, object]:
    """What the steps between two looks did, as numbers that a process can hand on."""
    old, new = (
        [torch.cat([x.flatten() for x in kind]) for kind in zip(*seen, strict=True)] for seen in (before, after)
    )
    return {
        "weights": {str(x.dtype) for x, _ in after},
        "masters": {str(x.dtype) for _, x in after},
        "is its master rounded": torch.equal(new[0], new[1].bfloat16()),
        "largest step": (new[1] - old[1]).abs().max().item(),
        "masters that moved": (new[1] != old[1]).float().mean().item(),
        "weights that moved": (new[0] != old[0]).float().mean().item(),
    }


def trainer_stage(stage: str, model: Path, data: Path, out: Path, file: Path) -> dict[str, object]:
    """`main` of stage 1 or 2 for some steps, and what DeepSpeed kept between the first and the last of them."""
    from transformers import Trainer, TrainerCallback

    from reward_model import train_reward_model_gptj as rm
    from sft import train_gptj_summarize as sft

    looks: list[dict] = []

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, model, optimizer, **kwargs):
            looks.append(look(model, optimizer.optimizer))

        def on_step_end(self, args, state, control, model, optimizer, **kwargs):
            looks.append(look(model, optimizer.optimizer))

    train = Trainer.train
    Trainer.train = lambda self, **options: (self.add_callback(Look()), train(self, **options))[1]
    more = {"rouge_rows": 0, "keep": "last"} if stage == "sft" else {"trainable_fraction": 0.5}
    run_main(
        {"sft": sft, "rm": rm}[stage].main,
        {
            "model": model, "dataset": data, "output_dir": out, "precision": "bf16", "learning_rate": LR,
            "warmup_steps": 0, "max_steps": STEPS, "global_batch_size": 8, "per_device_train_batch_size": 4,
            "max_length": 100, "report_to": "none", "deepspeed_config": file, **more,
        },
    )  # fmt: skip
    return figures(looks[0], looks[-1])


def ppo(model: Path, out: Path, file: Path) -> dict[str, object]:
    """Stage 3's engine, as `accelerate launch` starts it with a DeepSpeed file."""
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(file)}
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(29000 + os.getpid() % 3000)
    config = tiny_config(model, out, train__precision="bf16", method__ppo_epochs=STEPS)
    config.optimizer.kwargs["lr"] = config.scheduler.kwargs["eta_min"] = LR
    trainer = tiny_trainer(config)
    rollouts, _ = trainer.make_experience()
    before = look(trainer.policy, trainer.model.optimizer)
    for _ in range(STEPS):
        trainer.update([rollouts[:4]], rollouts[0])
    return figures(before, look(trainer.policy, trainer.model.optimizer))


@pytest.mark.parametrize("zero", [0, 2, 3])
@pytest.mark.parametrize("stage", ["sft", "rm", "ppo"])
def test_steps_of_5e_6_add_up_in_fp32(stage, zero, tmp_path, gptj_dir, tldr_dir, comparisons_dir):
    file = tmp_path / "ds.json"
    batch = {} if stage == "ppo" else {"train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto"}
    accumulation = 1 if stage == "ppo" else "auto"
    file.write_text(json.dumps({
        "zero_optimization": {"stage": zero}, "gradient_accumulation_steps": accumulation,
        "gradient_clipping": "auto", **batch,
    }))  # fmt: skip
    if stage == "ppo":
        found = forked(ppo, gptj_dir, tmp_path / "out", file)
    else:
        data = tldr_dir if stage == "sft" else comparisons_dir
        found = forked(trainer_stage, stage, gptj_dir, data, tmp_path / "out", file)
    assert (found["weights"], found["masters"]) == ({"torch.bfloat16"}, {"torch.float32"})
    assert found["is its master rounded"]
    assert 0.5 * LR < found["largest step"] <= 1.1 * STEPS * LR  # Adam's: about the learning rate each
    assert found["masters that moved"] > 0.5
    assert found["weights that moved"] < 0.5 * found["masters that moved"]


def test_bf16_alone_would_lose_them():
    """A weight of a usual size, by as many steps of PPO as a run has."""
    alone, master = torch.tensor(0.02, dtype=torch.bfloat16), torch.tensor(0.02)
    for _ in range(1600):
        alone, master = alone - LR, master - LR
    assert alone == torch.tensor(0.02, dtype=torch.bfloat16)
    torch.testing.assert_close(master.item(), 0.02 - 1600 * LR, rtol=1e-3, atol=0)
