"""Adapters (peft) under PPO. Their reference is the model with the adapter switched off: is that where training starts?

Mostly it is: an adapter such as LoRA adds nothing at first. It is not where an initialisation moves a part of the
weights into the adapter (PiSSA, OLoRA) or draws it at random, and it does not stay so where weights of the model itself
are trained (`bias`). The KL penalty would then be paid against a model that nobody has trained. Such adapters are
refused: by their configuration where that tells, else by trying (`check_reference`).
"""

import dataclasses
import difflib

import peft
import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from summarize_rlhf import UserError
from summarize_rlhf.lm.lora import default_targets

NEEDED = "PPO's reference is the model with the adapter switched off, and that has to be the model training starts from"
STARTS_ELSEWHERE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # values of init_lora_weights begin so


def refuse_loaded(model: PreTrainedModel, path: object) -> None:
    """Raise UserError where transformers found an adapter at `path`, a Hub id, and put it into `model`: its frozen and
    trained weights are not those that `num_layers_unfrozen` is about."""
    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise UserError(
            f"model.model_path {path} is an adapter on another model: download it, merge the two with "
            "python -m trlx.merge, and name the directory of the result"
        )


def add(model: PreTrainedModel, options: dict | peft.PeftConfig) -> peft.PeftModel:
    """Put `model` inside peft. Raise UserError with peft's own words where they do not fit each other.

    Without `target_modules` these are peft's choice for the family; LoRA has one for few of them, and takes all linear
    layers of the blocks for the others.
    """
    config = read_config(options)
    if isinstance(config, peft.LoraConfig) and not (config.target_modules or config.target_parameters):
        config = dataclasses.replace(config, target_modules=default_targets(model.config))
    try:
        return peft.get_peft_model(model, config)
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"model.peft_config: {str(error).strip().splitlines()[0]}") from error


def read_config(options: dict | peft.PeftConfig) -> peft.PeftConfig:
    """Read `model.peft_config` as peft's own class. Raise ValueError for what peft does not know or PPO cannot use."""
    if isinstance(options, dict):
        check_init(options.get("init_lora_weights", True))
        check_names(options)
        try:
            options = peft.get_peft_config({"task_type": "CAUSAL_LM", **options})
        except (ImportError, TypeError, ValueError) as error:
            raise ValueError(f"model.peft_config: {error}") from error
    if not isinstance(options, peft.PeftConfig):
        raise ValueError(f"model.peft_config should be a dictionary or a peft configuration, but is {options!r}")
    check_config(options)
    return options


def check_names(options: dict) -> None:
    """Raise ValueError for a `peft_type` that peft does not know and for an option that the type does not have."""
    kinds = {kind.value: known for kind, known in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    kind = options.get("peft_type")
    if not isinstance(kind, str) or kind not in kinds:
        hint = nearest(kind, [*kinds])
        raise ValueError(f"model.peft_config: peft_type should be a type of peft, but is {kind!r}{hint}.")
    names = [field.name for field in dataclasses.fields(kinds[kind])]
    for name in options:
        if name not in names:
            raise ValueError(f"model.peft_config: {kind} has no option {name!r}{nearest(name, names)}.")


def nearest(name: object, names: list[str]) -> str:
    """Suggest the known name that was meant: the nearest, or one that the given name begins with (`rank` for `r`)."""
    found = difflib.get_close_matches(str(name).upper() if names[0].isupper() else str(name), names, n=1)
    found += [x for x in names if len(x) == 1 and str(name).startswith(x)]
    return f" (did you mean {found[0]!r}?)" if found else " ('LORA' would be one)" if names[0].isupper() else ""


def check_config(options: peft.PeftConfig) -> None:
    """Raise ValueError, with the alternative, for an adapter whose configuration already rules its reference out."""
    if options.is_prompt_learning:
        raise ValueError(
            f"model.peft_config: {options.peft_type.name} puts tokens before the prompt; "
            "adapters inside the blocks are supported, such as LORA."
        )
    if options.task_type not in (None, "CAUSAL_LM"):
        raise ValueError(f"model.peft_config: task_type {options.task_type!r}: use 'CAUSAL_LM'.")
    check_init(vars(options).get("init_lora_weights", True))
    bias = vars(options).get("bias", "none")
    if bias != "none":
        raise ValueError(f"model.peft_config: bias {bias!r} trains biases of the model itself: use 'none'. {NEEDED}.")


def check_value_layers(unfrozen: int) -> None:
    """Raise ValueError for a value function with a model of its own (as of `--preset paper`) beside an adapter."""
    if unfrozen < 0:
        raise ValueError(
            f"method.num_value_layers_unfrozen {unfrozen}: with an adapter, give a number of blocks, or 0 (a head "
            "on the policy's states)."
        )


def check_init(init: bool | str) -> None:
    """Raise ValueError for an `init_lora_weights` that does not begin with an adapter that adds nothing."""
    if init is False or str(init).lower().startswith(STARTS_ELSEWHERE):
        raise ValueError(f"model.peft_config: init_lora_weights {init!r}: use true or 'gaussian'. {NEEDED}.")


def check_reference(policy) -> None:
    """Raise UserError unless an adapter's `policy` starts as its reference, which no trained weight may move.

    Tried on one small batch: log-probabilities agree to rounding, the policy's have a gradient, the reference's none.
    """
    model = policy.causal_lm
    stream = torch.Generator().manual_seed(0)
    tokens = torch.randint(model.get_input_embeddings().num_embeddings, (2, 8), generator=stream).to(model.device)
    prompt_lengths, responses = torch.tensor([4, 4], device=model.device), tokens[:, 4:]
    before = torch.arange(3, 7, device=model.device).expand(2, 4)  # the positions before the response's tokens
    with torch.enable_grad():
        logprobs = policy(tokens, prompt_lengths, responses).logprobs  # (2, 4)
        reference = policy.reference_logprobs(tokens, None, before, responses, temperature=1.0, keep_from=0)
    kind = policy.model.active_peft_config.peft_type.name
    gap = (logprobs - reference).abs().max().item()
    if not gap <= torch.finfo(model.dtype).eps ** 0.5:
        raise UserError(
            f"model.peft_config: this {kind} adapter changes the model before any training (log-probabilities by "
            f"{gap:.2g}): choose an initialisation that adds nothing, or LORA. {NEEDED}"
        )
    if reference.requires_grad:
        raise UserError(
            f"model.peft_config: this {kind} adapter trains weights that the model has without it, too: leave them "
            f"out, or use LORA. {NEEDED}"
        )
    if not logprobs.requires_grad:
        raise UserError(f"model.peft_config: this {kind} adapter has nothing to train, or takes no part in the model")
