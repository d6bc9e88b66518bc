"""What a run leaves on disk: the policy as a transformers directory, and its full state to go on from."""

import contextlib
import copy
import hashlib
import shutil
from pathlib import Path
from typing import Any

import peft
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from summarize_rlhf.checkpoint import run_record, save_run, write_directory
from summarize_rlhf.errors import UserError
from trlx.data.configs import plain
from trlx.models.policy import PolicyWithValueHead


@contextlib.contextmanager
def whole_model(model: torch.nn.Module, accelerator: Accelerator):
    """The policy with all its weights on every rank, in the precision that it trains in.

    ZeRO-3 gathers them, and takes its hooks off, for as long as this lasts.
    """
    plugin = accelerator.state.deepspeed_plugin if accelerator.distributed_type == DistributedType.DEEPSPEED else None
    gathered = contextlib.nullcontext()
    if plugin is not None and plugin.zero_stage == 3:
        import deepspeed

        gathered = deepspeed.zero.unwrap_model_for_generation(model)
    with gathered, accelerator.autocast():
        yield accelerator.unwrap_model(model)


def save_pretrained(trainer, directory: str | Path, merge_adapter: bool = False) -> None:
    """The policy, its tokenizer and run.json, such that `AutoModelForCausalLM` gives the trainer's logits.

    The value head lies beside the weights in value_head.safetensors: in them it would be an unexpected key.
    An adapter (LoRA) is saved alone, or with `merge_adapter` merged into the model it was trained on.
    Written by rank 0, whole or not at all.
    """
    accelerator = trainer.accelerator
    state = accelerator.get_state_dict(trainer.model)  # ZeRO-3 gathers here, so every rank calls it
    if accelerator.is_main_process:
        config = trainer.config
        record = run_record(
            "ppo",
            plain(config.to_dict()),
            trainer.tokenizer,
            config.train.seed,
            config.train.seq_length,
            {"train": _fingerprint(trainer.prompts), "eval": _fingerprint(trainer.eval_prompts)},
            step=trainer.step,
        )
        with write_directory(directory) as tmp, without_progress_bar():
            if merge_adapter and trainer.policy.is_adapter:
                merged(trainer.policy, _part(state, "model.")).save_pretrained(tmp)
            else:
                trainer.policy.model.save_pretrained(tmp, state_dict=_part(state, "model."))
            trainer.tokenizer.save_pretrained(tmp)
            save_file(_part(state, "v_head."), tmp / "value_head.safetensors")
            save_run(tmp, record)
    accelerator.wait_for_everyone()


def merged(policy: PolicyWithValueHead, state: dict[str, torch.Tensor]) -> PreTrainedModel:
    """A transformers model on the CPU with the policy's weights `state`, its adapter merged into them."""
    plain = AutoModelForCausalLM.from_config(policy.config)
    model = peft.get_peft_model(plain, copy.deepcopy(policy.model.active_peft_config))
    model.load_state_dict(state)
    return model.merge_and_unload()


@contextlib.contextmanager
def without_progress_bar():
    """transformers draws a bar per saved shard, across ours."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _fingerprint(prompts) -> dict[str, Any]:
    digest = hashlib.sha256("\0".join(item.text for item in prompts.items).encode()).hexdigest()
    return {"rows": len(prompts), "sha256": digest}


class Progress:
    """The trainer's own state in the form that Accelerate saves and loads beside weights, optimizer and generators."""

    NAMES = ("step", "iteration", "best_reward", "evaluated", "ref_std")

    def __init__(self, trainer):
        self.trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        t = self.trainer
        return {name: getattr(t, name) for name in self.NAMES} | {
            "kl_coef": t.kl_controller.value,
            "moments": t.moments.state_dict(),
            "cursor": t.cursor.state_dict(),
            "scheduler": t.scheduler.state_dict(),
            "log": t.log.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        t = self.trainer
        if state["cursor"]["n"] != t.cursor.n:
            raise UserError(
                f"the checkpoint was written with {state['cursor']['n']} prompts, this run has {t.cursor.n}"
            )
        for name in self.NAMES:
            setattr(t, name, state[name])
        t.kl_controller.value = state["kl_coef"]
        t.moments.load_state_dict(state["moments"])
        t.cursor.load_state_dict(state["cursor"])
        t.scheduler.load_state_dict(state["scheduler"])
        t.log.load_state_dict(state["log"])


STATE = "state"  # the last to appear: a checkpoint that has it is whole


def save(trainer, directory: str | Path) -> None:
    """Policy under `hf_model`; with `save_optimizer`, weights, optimizer, generators and progress under `state`."""
    save_pretrained(trainer, Path(directory) / "hf_model")
    if not trainer.config.train.save_optimizer:
        return
    unfinished, state = Path(directory) / f".{STATE}.tmp", Path(directory) / STATE
    if trainer.accelerator.is_main_process:
        for old in (unfinished, state):
            shutil.rmtree(old, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.save_state(str(unfinished))
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        unfinished.rename(state)
    trainer.accelerator.wait_for_everyone()


def load(trainer, directory: str | Path) -> None:
    """Goes on from `save`'s directory. Raises UserError where there is no full state."""
    state = Path(directory) / STATE
    if not state.is_dir():
        raise UserError(
            f"cannot resume from {directory}: it has no folder {STATE!r} with the optimizer and the run's progress. "
            "Name a directory checkpoint_<step> that was written with train.save_optimizer true"
        )
    trainer.accelerator.load_state(str(state))
