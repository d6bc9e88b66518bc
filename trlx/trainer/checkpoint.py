"""Write a run to disk: the policy as a transformers directory, and the full state that it resumes from."""

import contextlib
import copy
import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from accelerate.utils.other import load as load_with_accelerate
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE, check_files, read_run, run_record, save_run, without_secrets
from summarize_rlhf.lm.adapters import weights_digest
from summarize_rlhf.lm.model_directory import Reader, read_causal_lm, write_model
from summarize_rlhf.lm.weights import check_shapes, shapes_in, shapes_of
from summarize_rlhf.model_card import write_model_card
from summarize_rlhf.run import checkpoints, zero3
from summarize_rlhf.run.disk_space import ADAM, FP32, Need, checkpoints_at_once, held
from summarize_rlhf.run.files import recover_directory
from summarize_rlhf.tokenizer import tokenizer_hash
from trlx.data.configs import plain
from trlx.models.policy import PolicyWithValueHead
from trlx.pipeline.rollouts import Rollout, from_tensors, to_tensors
from trlx.trainer import elastic
from trlx.utils.modeling import flatten_dict


@contextlib.contextmanager
def gathered_model(model: torch.nn.Module, accelerator: Accelerator):
    """Yield the policy with all its weights on every rank, in the precision that it trains in.

    ZeRO-3 gathers them, and takes its hooks off, for as long as this lasts.
    """
    with zero3.gathered_model(model), accelerator.autocast():
        yield accelerator.unwrap_model(model)


def save_pretrained(trainer, directory: str | Path, merge_adapter: bool = False) -> None:
    """Write the policy, its tokenizer and run.json, such that `AutoModelForCausalLM` gives the trainer's logits.

    The value head lies beside the weights in value_head.safetensors: in them it would be an unexpected key.
    An adapter (LoRA) is saved alone, or with `merge_adapter` merged into the model it was trained on.
    Rank 0 writes, completely or not at all.
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
            **({"base_sha256": trainer.policy.base_sha256} if trainer.policy.is_adapter and not merge_adapter else {}),
        )
        read = reader_of(trainer, merge_adapter)
        with write_model(directory, read) as tmp, without_progress_bar():
            if merge_adapter and trainer.policy.is_adapter:
                merged(trainer.policy, _part(state, "model.")).save_pretrained(tmp)
            else:
                trainer.policy.model.save_pretrained(tmp, state_dict=_part(state, "model."))
            trainer.tokenizer.save_pretrained(tmp)
            save_file(_part(state, "v_head."), tmp / "value_head.safetensors")
            write_model_card(tmp, record)
            save_run(tmp, record)
    accelerator.wait_for_everyone()


def merged(policy: PolicyWithValueHead, state: dict[str, torch.Tensor]) -> PreTrainedModel:
    """Build a transformers model on the CPU from the policy's weights `state`, its adapter merged into them."""
    plain = AutoModelForCausalLM.from_config(policy.config)
    plain.generation_config = policy.causal_lm.generation_config
    model = peft.get_peft_model(plain, copy.deepcopy(policy.model.active_peft_config))
    model.load_state_dict(state)
    return model.merge_and_unload()


def reader_of(trainer, merge_adapter: bool) -> Reader:
    """Return the reader of the directory that `save_pretrained` writes: for a causal LM, or for an adapter alone."""
    if trainer.policy.is_adapter and not merge_adapter:
        return functools.partial(read_adapter, trainer.policy)
    return functools.partial(read_causal_lm, **trainer.config.model.model_extra_configs)


def read_adapter(policy: PolicyWithValueHead, directory: Path) -> None:
    """Raise `UserError` where the adapter in `directory` is not one for the policy's model, by names and shapes."""
    config = copy.deepcopy(policy.model.active_peft_config)
    with torch.device("meta"):
        fresh = peft.get_peft_model(AutoModelForCausalLM.from_config(policy.config), config, low_cpu_mem_usage=True)
    expected = shapes_of(peft.get_peft_model_state_dict(fresh))
    check_shapes(directory, expected, shapes_in(directory / "adapter_model.safetensors"))


def check_best(trainer) -> None:
    """Raise `UserError` where the best policy is not what was written. All processes call this."""
    directory = Path(trainer.config.train.checkpoint_dir) / BEST
    error = [None]
    if trainer.accelerator.is_main_process and trainer.best_reward > float("-inf"):
        try:
            check_files(directory, read_run(directory) or {"files": {RUN_FILE: {}}})
        except UserError as found:
            error[0] = f"training has ended, but its best policy is lost: {found}. The last checkpoint is complete"
    error = broadcast_object_list(error)[0]
    if error is not None:
        raise UserError(error)


def check_random_states(state: Path) -> None:
    """Raise `UserError` where the random numbers of a rank cannot be read: Accelerate would go on with others."""
    for file in sorted(state.glob("random_states_*.pkl")):
        try:
            missing = {"random_state", "numpy_random_seed", "torch_manual_seed"} - load_with_accelerate(file).keys()
            if missing:
                raise ValueError(f"it has no {sorted(missing)[0]}")
        except Exception as error:  # whatever a damaged pickle or zip provokes
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"cannot resume from {state.parent}: {file.name} is damaged or holds more than random numbers "
                f"({reason}). Remove that checkpoint: the same command then goes on from the one before"
            ) from error


@contextlib.contextmanager
def without_progress_bar():
    """Switch off the bar that transformers draws per saved shard, across ours."""
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
    """The trainer's own state, as Accelerate saves and loads it beside weights, optimizer and generators."""

    NAMES = ("step", "iteration", "best_reward", "evaluated", "evaluation_due", "ref_std")

    def __init__(self, trainer):
        self.trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        t = self.trainer
        return {name: getattr(t, name) for name in self.NAMES} | {
            "kl_coef": t.kl_controller.value,
            "moments": t.moments.state_dict(),
            "cursor": t.cursor.state_dict(),
            "scheduler": t.scheduler.state_dict(),
            "guards": t.guards.state_dict(),
            "log": t.log.state_dict(),
            "collection": None if t.collection is None else t.collection.progress(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        t = self.trainer
        for name in self.NAMES:
            setattr(t, name, state[name])
        t.kl_controller.value = state["kl_coef"]
        t.moments.load_state_dict(state["moments"])
        t.cursor.load_state_dict(state["cursor"])
        t.scheduler.load_state_dict(state["scheduler"])
        t.guards.load_state_dict(state["guards"])
        t.log.load_state_dict(state["log"])
        t.collection = None if state["collection"] is None else Collection(rollouts=[], **state["collection"])


@dataclass
class Collection:
    """Rollouts in use, and the progress on them: `update` updates of PPO epoch `epoch` are done."""

    rollouts: list[Rollout]
    kl: float  # nats an episode, for the controller
    epoch: int = 0
    update: int = 0

    def progress(self) -> dict[str, Any]:
        return {"kl": self.kl, "epoch": self.epoch, "update": self.update}


BEST = "best_checkpoint/hf_model"  # in the checkpoint directory
STATE = "state"  # weights, optimizer, generators, progress, rollouts


def run_needs(trainer) -> list[Need]:
    """List what a run will have on disk at once: checkpoints and the best policy."""
    train, folder = trainer.config.train, Path(trainer.config.train.checkpoint_dir)
    model, policy = trainer.policy.causal_lm, trainer.policy
    weights = FP32 * sum(p.numel() for p in model.parameters())
    if policy.is_adapter:
        weights = FP32 * sum(p.numel() for p in policy.parameters() if p.requires_grad)
    state = FP32 * sum(p.numel() for p in policy.parameters())
    state += ADAM * sum(p.numel() for p in policy.parameters() if p.requires_grad)
    one, kept = weights + (state if train.save_optimizer else 0), checkpoints_at_once(train.save_total_limit)
    needs = [Need(f"{kept} checkpoints", folder, max(kept * one - held(folder), one))]
    return [*needs, Need("the best policy", folder, weights)] if train.save_best else needs


def settings(trainer) -> dict[str, Any]:
    """Return a run's settings by dotted name. A resumed run has the same, but for `elastic.may_change`.

    Inputs are compared by content: they may lie elsewhere by now.
    """
    config = flatten_dict(plain(trainer.config.to_dict()), sep=".")
    config = {name: value for name, value in config.items() if not name.startswith("train.guards.")}
    path = trainer.config.model.model_path
    if isinstance(path, str):
        config["model.model_path"] = weights_digest(path) or path
    config.pop("tokenizer.tokenizer_path")
    return without_secrets(config) | {
        "prompts": _fingerprint(trainer.prompts),
        "tokenizer": tokenizer_hash(trainer.tokenizer),
        "stop_sequences": trainer.stop_sequences,
        "processes": trainer.accelerator.num_processes,
    }


def save(trainer, directory: str | Path) -> None:
    """Write the policy to `hf_model` and, with `save_optimizer`, all that a run resumes from to `state`, atomically.

    All processes call this.
    """
    rank = trainer.accelerator.process_index
    with checkpoints.write_checkpoint(Path(directory).absolute(), settings(trainer)) as tmp:
        save_pretrained(trainer, tmp / "hf_model")
        if trainer.config.train.save_optimizer:
            trainer.accelerator.save_state(str(tmp / STATE))
            if trainer.collection is not None:
                save_file(to_tensors(trainer.collection.rollouts), tmp / STATE / f"rollouts_{rank}.safetensors")


def load(trainer, directory: str | Path) -> None:
    """Load what `save` wrote. Raises UserError where it has no full state, is damaged, or is another run's."""
    directory = Path(directory)
    state = directory / STATE
    if not state.is_dir():
        raise UserError(
            f"cannot resume from {directory}: it has no folder {STATE!r} with the optimizer and the run's progress. "
            "Name a directory checkpoint_<step> that was written with train.save_optimizer true"
        )
    reason = checkpoints.find_corruption(directory)
    if reason is not None:
        raise UserError(f"cannot resume from {directory}: {reason}")
    before = json.loads((directory / checkpoints.MANIFEST).read_text(encoding="utf-8"))["settings"]
    checkpoints.refuse_changes(before, settings(trainer), elastic.may_change(trainer.config), directory)
    elastic.check_global_batch(trainer, before, directory)
    if trainer.accelerator.is_main_process:
        recover_directory(Path(trainer.config.train.checkpoint_dir) / BEST)
    if before["processes"] != trainer.accelerator.num_processes:
        elastic.load_state(trainer, state, Progress(trainer), before["processes"])
    else:
        with checkpoints.tensors_only():
            check_random_states(state)
            trainer.accelerator.load_state(str(state))
        if trainer.collection is not None:
            file = state / f"rollouts_{trainer.accelerator.process_index}.safetensors"
            trainer.collection.rollouts = from_tensors(load_file(file), trainer.accelerator.device)
    trainer.accelerator.step = 0  # counts micro-batches, of which an update may have another number now
