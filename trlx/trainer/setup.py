"""Build what a run is made of from its configuration: accelerator, tokenizer, policy, trackers."""

import atexit
import os
from pathlib import Path

import torch
from accelerate import Accelerator, DeepSpeedPlugin, PartialState
from accelerate.utils import GradientAccumulationPlugin, GradScalerKwargs, ProjectConfiguration
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerBase
from transformers.integrations import unset_hf_deepspeed_config

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE, read_run
from summarize_rlhf.lm import generation_options
from summarize_rlhf.lm.adapters import weights_digest
from summarize_rlhf.lm.families import FAMILIES
from summarize_rlhf.lm.precision import training_dtype
from summarize_rlhf.lm.speed import tune_model
from summarize_rlhf.lm.weights import check_is_text_model, check_positions, clean_config, load_causal_lm
from summarize_rlhf.run.deepspeed_config import NAMES, deepspeed_config
from summarize_rlhf.run.deepspeed_defaults import GRAD_SCALER, clip_at, written_out
from summarize_rlhf.run.launch import check_environment, prepare_deepspeed, world_size
from summarize_rlhf.run.trackers import check_tracker, quiet_wandb, wandb_run
from summarize_rlhf.tokenizer import load_tokenizer
from trlx.data.configs import TokenizerConfig, TRLConfig, plain
from trlx.models import lora, trlx_checkpoint, value_head
from trlx.models.policy import PolicyWithValueHead
from trlx.trainer.batch_plan import BatchPlan, accumulation_for
from trlx.utils.modeling import flatten_dict


def check_processes(config: TRLConfig, processes: int) -> None:
    """Raise ValueError if a rank would be left without a rollout."""
    if config.method.num_rollouts < processes:
        raise ValueError(f"method.num_rollouts {config.method.num_rollouts} is less than one for each of {processes}.")


def uses_deepspeed() -> bool:
    """Return whether `accelerate launch` was told to use DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true"


def deepspeed_file() -> str | None:
    """Return the DeepSpeed file that `accelerate launch` was given, if any."""
    return os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE") if uses_deepspeed() else None


def zero_stage(precision: str) -> int:
    """Return the ZeRO stage that `accelerate launch` was told to use, 0 without DeepSpeed."""
    file = deepspeed_file()
    if file is None:
        return int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")) if uses_deepspeed() else 0
    return deepspeed_config(file, training_dtype(precision))["zero_optimization"].get("stage", 0)


def join_processes() -> PartialState:
    """Return this process's place in the launch. Before `trlx.train` a script calls this, not PartialState.

    Left alone, Accelerate would take every process on CPU for the only one. Raises UserError where it has.
    """
    check_environment()
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
    """Build the accelerator of this launch; return it with the gradient accumulation, training batches per update.

    That is the one of the DeepSpeed file or of the Accelerate configuration, unless `method.num_minibatches` decides.
    Accelerate and DeepSpeed count micro-batches instead (`BatchPlan`). The DeepSpeed file is adapted to the hardware.
    """
    train = config.train
    check_tracker(train.tracker)
    if train.tracker == "wandb":
        quiet_wandb()
    join_processes()

    def micro_batches(accumulation: int) -> int:
        return BatchPlan(train, config.method, accumulation, world_size()).micro_batches

    plugin, dtype = None, training_dtype(train.precision)
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", NAMES[dtype]):
        raise UserError(
            f"the Accelerate configuration asks for mixed_precision {asked}, but {NAMES[dtype]} is trained in here: "
            "take it out of the file, and name a precision by train.precision"
        )
    accumulation = accumulation_for(
        train, config.method, int(os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")), world_size()
    )
    if uses_deepspeed():
        file = deepspeed_file()
        plugin = DeepSpeedPlugin(hf_ds_config=deepspeed_config(file, dtype)) if file else DeepSpeedPlugin()
        deepspeed = plugin.deepspeed_config
        accumulation = deepspeed.get("gradient_accumulation_steps", 1)
        accumulation = accumulation_for(
            train, config.method, 1 if accumulation == "auto" else accumulation, world_size()
        )
        deepspeed["gradient_accumulation_steps"] = micro_batches(accumulation)
        deepspeed["train_micro_batch_size_per_gpu"] = train.minibatch_size or train.batch_size
        deepspeed.pop("train_batch_size", None)
        if plugin.zero_stage == 3:
            deepspeed["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True
        deepspeed["gradient_clipping"] = clip_at(train.max_grad_norm, deepspeed.get("gradient_clipping"))
        if not file:  # `accelerate launch` with flags alone
            half = {} if dtype == torch.float32 else {NAMES[dtype]: {"enabled": True}}
            deepspeed.update(written_out(half | deepspeed, NAMES[dtype]))
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available() and plugin is None,
        deepspeed_plugin=plugin,
        mixed_precision="no" if dtype == torch.float32 else NAMES[dtype],
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=micro_batches(accumulation), adjust_scheduler=False, sync_with_dataloader=False
        ),
        kwargs_handlers=[GradScalerKwargs(**GRAD_SCALER)],
        log_with=train.tracker,
        project_config=ProjectConfiguration(logging_dir=train.logging_dir or train.checkpoint_dir),
    )
    unset_hf_deepspeed_config()  # under ZeRO-3 models would load in shards, but the policy copies whole blocks
    return accelerator, accumulation


def start_trackers(accelerator: Accelerator, config: TRLConfig, goes_on: bool) -> None:
    """Start the tracker's run; W&B gets project, run name, entity, group and tags, and resumes its earlier run.

    Without a group of its own the run joins that of the stage that wrote its model.
    """
    train = config.train
    if train.tracker is None:
        return
    settings = plain(config.to_dict())
    if train.tracker != "wandb":  # TensorBoard takes no nesting, no lists and no None
        flat = flatten_dict(settings)
        settings = {key: x if isinstance(x, int | float | str | bool) else str(x) for key, x in flat.items()}
    group = train.group_name or group_of(config.model.model_path)
    named = {"name": train.run_name or (f"{group}/ppo" if group else None), "group": group}
    options = {}
    if train.tracker == "wandb" and accelerator.is_main_process:
        wandb = {"entity": train.entity_name, "tags": train.tags}
        options["wandb"] = named | wandb | wandb_run(Path(train.checkpoint_dir), goes_on)
    if train.tracker == "trackio":
        options["trackio"] = named | {"resume": "allow" if goes_on else "never"}
    accelerator.init_trackers(train.project_name, config=settings, init_kwargs=options)


def group_of(model_path: str | PretrainedConfig) -> str | None:
    """Return the name of the run that a stage of this repository wrote the model in, if one did."""
    if isinstance(model_path, PretrainedConfig) or not (Path(model_path) / RUN_FILE).is_file():
        return None
    return os.environ.get("WANDB_RUN_GROUP") or read_run(model_path).get("run_name")


def build_tokenizer(config: TokenizerConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer, with a pad token (EOS where it has none of its own)."""
    tokenizer = load_tokenizer(config.tokenizer_path, **config.tokenizer_extra_configs)
    tokenizer.truncation_side = config.truncation_side
    return tokenizer


def build_policy(config: TRLConfig, tokenizer: PreTrainedTokenizerBase) -> PolicyWithValueHead:
    """Build the policy of `config.model`. Raises UserError where the tokenizer has ids that the model does not know."""
    model_config, path = config.model, config.model.model_path
    if isinstance(path, PretrainedConfig):
        model = tune_model(clean_config(AutoModelForCausalLM.from_config(path)))
    elif trlx_checkpoint.is_of_trlx(path):
        model, _ = trlx_checkpoint.load(path)
    else:
        model = load_causal_lm(path, **model_config.model_extra_configs)
    vocabulary = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vocabulary:
        raise UserError(
            f"tokenizer {config.tokenizer.tokenizer_path} has {len(tokenizer)} tokens, but the model {path} "
            f"knows {vocabulary}: name the tokenizer that belongs to the model (tokenizer.tokenizer_path)"
        )
    check_positions(model.config, config.train.seq_length, "train.seq_length")
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


def check_policy(config: TRLConfig, tokenizer: PreTrainedTokenizerBase, default_unfrozen: int = 0) -> None:
    """Raise `UserError` for a policy that could not be built, before anything is scored for it.

    What config.json tells is read from there; a family that no table lists is built once, and dropped again. More
    unfrozen layers than the model has are refused, but for the default, which is meant for a larger model.
    """
    generation_options.check_method(config.method, len(tokenizer))
    path = config.model.model_path
    if not (Path(path) / "config.json").is_file() or trlx_checkpoint.is_of_trlx(path):
        return  # the Hub's, an adapter, an older checkpoint: `build_policy` tells
    check_is_text_model(Path(path))
    found = AutoConfig.from_pretrained(path)
    check_positions(found, config.train.seq_length, "train.seq_length")
    blocks = found.to_dict().get("num_hidden_layers") or found.num_hidden_layers
    for name, value in (
        ("model.num_layers_unfrozen", config.model.num_layers_unfrozen),
        ("method.num_value_layers_unfrozen", config.method.num_value_layers_unfrozen),
    ):
        if value > blocks and value != default_unfrozen:
            raise UserError(f"{name} is {value}, but the model has {blocks} blocks (-1: all of the model)")
    if found.model_type not in FAMILIES:
        build_policy(config, tokenizer)


def hold_trained_weights_in_fp32(model: torch.nn.Module) -> None:
    """Convert the model to fp32 unless its trained weights are.

    In bf16 a step of 1e-5 would round to nothing, and gradients would add up in 8 bits. Frozen weights under an adapter
    stay as they were loaded.
    """
    if any(p.requires_grad and p.is_floating_point() and p.dtype.itemsize < 4 for p in model.parameters()):
        model.float()
