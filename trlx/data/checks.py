"""Whether a configuration can run: checked as a whole, before anything is loaded."""

import dataclasses

import torch

from summarize_rlhf.lm import generation_options
from summarize_rlhf.lm.precision import PRECISIONS, training_dtype
from trlx import registry
from trlx.data import arguments
from trlx.data.configs import TRLConfig
from trlx.data.options import check_options
from trlx.data.scope import check_known
from trlx.models import lora
from trlx.trainer.guards import Guards
from trlx.utils.optimizers import OPTIMIZERS, SCHEDULERS, build_optimizer, build_scheduler


def check_config(config: TRLConfig) -> None:
    """Raise ValueError, before anything is loaded, for what this engine does not do and for what cannot work."""
    train, method = config.train, config.method
    for section in dataclasses.fields(config):
        check_options(section.name, getattr(config, section.name))
    check_known("train.trainer", train.trainer, ("AcceleratePPOTrainer", *registry.TRAINERS))
    check_known("train.pipeline", train.pipeline, ("PromptPipeline", *registry.PIPELINES))
    for side in ("truncation_side", "padding_side"):
        check_known(f"tokenizer.{side}", getattr(config.tokenizer, side), ("left", "right"))
    check_known("model.model_arch_type", config.model.model_arch_type, ("causal",))
    if train.precision not in PRECISIONS:
        raise ValueError(f"train.precision {train.precision!r}: use {', '.join(PRECISIONS)}.")
    training_dtype(train.precision)
    if train.tracker not in ("wandb", "tensorboard", "trackio", None):
        raise ValueError(f"train.tracker {train.tracker!r}: use 'wandb', 'tensorboard', 'trackio' or null.")
    check_known("optimizer.name", config.optimizer.name, tuple(OPTIMIZERS))
    check_known("scheduler.name", config.scheduler.name, tuple(SCHEDULERS))
    arguments.check_model_path("model.model_path", config.model.model_path)
    if config.model.peft_config is not None:
        lora.read_config(config.model.peft_config)
        lora.check_value_layers(method.num_value_layers_unfrozen)
    generation_options.check_method(method)
    Guards(train.guards)
    try:
        optimizer = build_optimizer(config.optimizer, [torch.nn.Parameter(torch.zeros(1))])
        scheduler = build_scheduler(config.scheduler, optimizer)
        for _ in range(2):  # some numbers, such as a T_max of 0, fail at a step
            optimizer.step()
            scheduler.step()
    except Exception as error:  # torch checks its arguments in many ways
        raise ValueError(f"optimizer.kwargs or scheduler.kwargs do not fit: {error!r}.") from error
    if train.seq_length <= method.longest_response():
        raise ValueError(
            f"train.seq_length {train.seq_length} leaves no token for a prompt beside max_new_tokens "
            f"{method.longest_response()}."
        )
