"""What a run is made of, built from its configuration: accelerator, tokenizer, policy, optimizer, schedule."""

import atexit
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from accelerate import Accelerator, DeepSpeedPlugin, PartialState
from accelerate.utils import GradientAccumulationPlugin, GradScalerKwargs, ProjectConfiguration
from torch.optim import lr_scheduler
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerBase
from transformers.integrations import unset_hf_deepspeed_config

from summarize_rlhf import UserError
from summarize_rlhf.lm import generation_options
from summarize_rlhf.lm.adapters import weights_digest
from summarize_rlhf.lm.precision import dtype, precision
from summarize_rlhf.lm.speed import tune
from summarize_rlhf.lm.weights import clean_config, load_causal_lm
from summarize_rlhf.run.deepspeed_config import deepspeed_config
from summarize_rlhf.run.deepspeed_defaults import GRAD_SCALER, clip_at, written_out
from summarize_rlhf.run.launch import prepare_deepspeed, world_size
from summarize_rlhf.run.trackers import quiet_wandb, wandb_run
from summarize_rlhf.run.values import check_bounds
from summarize_rlhf.tokenizer import load_tokenizer
from trlx import convert
from trlx.data import arguments
from trlx.data.configs import OptimizerConfig, SchedulerConfig, TokenizerConfig, TRLConfig, plain
from trlx.data.scope import check_known
from trlx.models import lora, value_head
from trlx.models.policy import PolicyWithValueHead
from trlx.trainer.guards import Guards
from trlx.utils.modeling import flatten_dict

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
SCHEDULERS = {
    "cosine_annealing": lr_scheduler.CosineAnnealingLR,
    "linear": lr_scheduler.LinearLR,
    "constant": lr_scheduler.ConstantLR,
}


ONE, ZERO, POSITIVE = {"least": 1}, {"least": 0}, {"above": 0}
BOUNDS: dict[str, dict[str, dict[str, float]]] = {
    "train": {
        "total_steps": ONE, "seq_length": ONE, "epochs": ONE, "batch_size": ONE, "checkpoint_interval": ONE,
        "eval_interval": ONE, "minibatch_size": ONE, "save_total_limit": ONE, "checkpoint_minutes": ZERO,
        "max_grad_norm": POSITIVE, "seed": {"least": 0, "below": 2**32},
    },
    "model": {"num_layers_unfrozen": {"least": -1}},
    "method": {
        "ppo_epochs": ONE, "num_rollouts": ONE, "chunk_size": ONE, "init_kl_coef": ZERO, "target": POSITIVE,
        "horizon": ONE, "gamma": ZERO, "lam": ZERO, "cliprange": POSITIVE, "cliprange_value": POSITIVE,
        "vf_coef": ZERO, "ref_std": POSITIVE, "cliprange_reward": ZERO, "num_value_layers_unfrozen": ZERO,
    },
}  # fmt: skip


def check_config(config: TRLConfig) -> None:
    """Before anything is loaded: raises ValueError for what this engine does not do, and for what cannot work."""
    train, method = config.train, config.method
    for section, bounds in BOUNDS.items():
        for name, each in bounds.items():
            check_bounds(f"{section}.{name}", getattr(getattr(config, section), name), each)
    check_known("train.trainer", train.trainer, ("AcceleratePPOTrainer",))
    check_known("train.pipeline", train.pipeline, ("PromptPipeline",))
    check_known("model.model_arch_type", config.model.model_arch_type, ("causal",))
    if train.tracker not in ("wandb", "tensorboard", None):
        raise ValueError(f"train.tracker {train.tracker!r}: use 'wandb', 'tensorboard' or null.")
    check_known("optimizer.name", config.optimizer.name, tuple(OPTIMIZERS))
    check_known("scheduler.name", config.scheduler.name, tuple(SCHEDULERS))
    arguments.check_model_path("model.model_path", config.model.model_path)
    if config.model.peft_config is not None:
        lora.read_config(config.model.peft_config)
    generation_options.check_method(method)
    Guards(train.guards)
    try:
        build_scheduler(config.scheduler, build_optimizer(config.optimizer, [torch.nn.Parameter(torch.zeros(1))]))
    except Exception as error:  # torch checks its arguments in many ways
        raise ValueError(f"optimizer.kwargs or scheduler.kwargs do not fit: {error!r}.") from error
    if train.seq_length <= method.longest_response():
        raise ValueError(
            f"train.seq_length {train.seq_length} leaves no token for a prompt beside max_new_tokens "
            f"{method.longest_response()}."
        )


def check_processes(config: TRLConfig, processes: int) -> None:
    """Raises ValueError if a rank would be left without a rollout."""
    if config.method.num_rollouts < processes:
        raise ValueError(f"method.num_rollouts {config.method.num_rollouts} is less than one for each of {processes}.")


def uses_deepspeed() -> bool:
    """Whether `accelerate launch` was told to use DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true"


def join_processes() -> PartialState:
    """This process among those of the launch. A script that asks before `trlx.train` does calls this, not PartialState.

    Left alone, Accelerate would take every process on CPU for the only one. Raises UserError where it has.
    """
    prepare_deepspeed()
    if torch.cuda.is_available():
        state = PartialState()
    else:
        state = PartialState(backend="gloo") if uses_deepspeed() else PartialState(cpu=True)
        atexit.register(state.destroy_process_group)  # gloo left to itself holds up the exit for half a minute
    if state.num_processes != world_size():
        raise UserError(
            f"Accelerate sees {state.num_processes} process, but {world_size()} were launched: make no Accelerator or "
            "PartialState before trlx.train; trlx.trainer.setup.join_processes() gives one"
        )
    return state


def build_accelerator(config: TRLConfig) -> tuple[Accelerator, int]:
    """The accelerator of this launch, and into how many micro-batches it splits the rollouts of one update.

    An update takes `batch_size` rollouts per device, times the gradient accumulation of the DeepSpeed file
    or of the Accelerate configuration. The DeepSpeed file is adapted to the hardware (`deepspeed_config`).
    """
    train = config.train
    if train.tracker == "wandb":
        quiet_wandb()
    parts = -(-train.batch_size // (train.minibatch_size or train.batch_size))
    join_processes()
    plugin = None
    if uses_deepspeed():
        file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
        plugin = DeepSpeedPlugin(hf_ds_config=deepspeed_config(file)) if file else DeepSpeedPlugin()
        deepspeed = plugin.deepspeed_config
        accumulation = deepspeed.get("gradient_accumulation_steps", 1)
        accumulation = 1 if accumulation == "auto" else accumulation
        parts *= accumulation
        deepspeed["gradient_accumulation_steps"] = parts
        deepspeed["train_micro_batch_size_per_gpu"] = train.minibatch_size or train.batch_size
        deepspeed.pop("train_batch_size", None)
        if plugin.zero_stage == 3:
            deepspeed["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True
        deepspeed["gradient_clipping"] = clip_at(train.max_grad_norm, deepspeed.get("gradient_clipping"))
        if not file:  # `accelerate launch` with flags alone
            half = {dtype(): {"enabled": True}} if dtype() != "fp32" else {}
            deepspeed.update(written_out(half | deepspeed, dtype()))
    else:
        parts *= int(os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"))
    kind = precision()
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available() and plugin is None,
        deepspeed_plugin=plugin,
        mixed_precision="bf16" if kind["bf16"] else "fp16" if kind["fp16"] else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=parts, adjust_scheduler=False, sync_with_dataloader=False
        ),
        kwargs_handlers=[GradScalerKwargs(**GRAD_SCALER)],
        log_with=train.tracker,
        project_config=ProjectConfiguration(logging_dir=train.logging_dir or train.checkpoint_dir),
    )
    unset_hf_deepspeed_config()  # under ZeRO-3 models would load in shards, but the policy copies whole blocks
    return accelerator, parts


def start_trackers(accelerator: Accelerator, config: TRLConfig, goes_on: bool) -> None:
    """Names the run for the tracker; W&B gets project, run name, entity, group and tags, and goes on with its run."""
    train = config.train
    if train.tracker is None:
        return
    settings = plain(config.to_dict())
    if train.tracker == "tensorboard":  # which takes no nesting, no lists and no None
        flat = flatten_dict(settings)
        settings = {key: x if isinstance(x, int | float | str | bool) else str(x) for key, x in flat.items()}
    wandb = {"name": train.run_name, "entity": train.entity_name, "group": train.group_name, "tags": train.tags}
    options = {}
    if train.tracker == "wandb" and accelerator.is_main_process:
        options["wandb"] = wandb | wandb_run(Path(train.checkpoint_dir), goes_on)
    accelerator.init_trackers(train.project_name, config=settings, init_kwargs=options)


def build_tokenizer(config: TokenizerConfig) -> PreTrainedTokenizerBase:
    """The tokenizer, with a pad token (EOS where it has none of its own)."""
    tokenizer = load_tokenizer(config.tokenizer_path, **config.tokenizer_extra_configs)
    tokenizer.truncation_side = config.truncation_side
    return tokenizer


def build_policy(config: TRLConfig, tokenizer: PreTrainedTokenizerBase) -> PolicyWithValueHead:
    """The policy of `config.model`. Raises where the tokenizer has ids that the model does not know."""
    model_config, path = config.model, config.model.model_path
    tune()
    if isinstance(path, PretrainedConfig):
        model = clean_config(AutoModelForCausalLM.from_config(path))
    elif convert.is_of_trlx(path):
        model, _ = convert.load(path)
    else:
        model = load_causal_lm(path, **model_config.model_extra_configs)
    vocabulary = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vocabulary:
        raise UserError(
            f"tokenizer {config.tokenizer.tokenizer_path} has {len(tokenizer)} tokens, but the model {path} "
            f"knows {vocabulary}: name the tokenizer that belongs to the model (tokenizer.tokenizer_path)"
        )
    lora.refuse_loaded(model, path)
    if model_config.peft_config is not None:
        if not isinstance(path, PretrainedConfig) and Path(path).exists():
            model.name_or_path = str(Path(path).absolute())  # the adapter's config will name it
        model = lora.add(model, model_config.peft_config)
    hold_trained_weights_in_fp32(model)
    method = config.method
    policy = PolicyWithValueHead(model, model_config.num_layers_unfrozen, method.num_value_layers_unfrozen)
    if policy.is_adapter:
        lora.check_reference(policy)
        if not isinstance(path, PretrainedConfig):
            policy.base_sha256 = weights_digest(path)  # what the adapter belongs to
    if method.value_model is not None:
        value_head.start_from(policy, method.value_model)
    return policy


def hold_trained_weights_in_fp32(model: torch.nn.Module) -> None:
    """In bf16 a step of 1e-5 would round to nothing, and gradients would add up in 8 bits. Frozen weights under an
    adapter stay as they were loaded."""
    if any(p.requires_grad and p.is_floating_point() and p.dtype.itemsize < 4 for p in model.parameters()):
        model.float()


def build_optimizer(config: OptimizerConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Over what trains and nothing else."""
    return OPTIMIZERS[config.name.lower()]([p for p in parameters if p.requires_grad], **config.kwargs)


def build_scheduler(config: SchedulerConfig, optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    """One step per optimizer update."""
    kwargs = {"factor": 1.0} if config.name.lower() == "constant" else {}
    return SCHEDULERS[config.name.lower()](optimizer, **(kwargs | config.kwargs))
