"""LoRA (Hu et al. 2021, arXiv 2106.09685) in stages 1 and 2: small matrices beside frozen weights are all that trains.

The layers go into the model in place, so that it runs, is cut and checkpoints its activations as before. What is
written is the adapter alone, for a reward model with its head beside it; `load_causal_lm` and `reward_weights` read it
merged into its base. PPO takes any adapter of peft (trlx/models/lora.py).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import peft
import torch
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from peft.utils.constants import INCLUDE_LINEAR_LAYERS_SHORTHAND
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.integrations import unset_hf_deepspeed_config
from transformers.pytorch_utils import Conv1D

from summarize_rlhf import UserError
from summarize_rlhf.hub import from_hub
from summarize_rlhf.lm.adapters import (
    WEIGHTS,
    find_bottom,
    is_adapter,
    load_adapter,
    read_config,
    weights_digest,
    wrapped,
)
from summarize_rlhf.lm.weights import check_shapes, load_causal_lm, shapes_in, shapes_of, state_dict_of
from summarize_rlhf.reading import reading
from summarize_rlhf.run.arguments import knob

HEAD = "v_head.safetensors"  # of a reward model, beside its adapter


@dataclass
class LoraArguments:
    """The arguments that stages 1 and 2 have in common; a stage's own come behind them."""

    lora_r: int = knob(0, "rank of a LoRA adapter, which alone is trained and written; 0: no adapter", least=0)
    lora_alpha: float = knob(16.0, "what the adapter adds is multiplied by this / lora_r", above=0)
    lora_dropout: float = knob(0.0, "dropout of the adapter's input", least=0, below=1)
    lora_target_modules: str | None = knob(
        None, "layers that get an adapter, by the ends of their names, with commas; None: peft's choice, else all"
    )
    merge_adapter: bool = knob(False, "write a whole model, the adapter merged into it", may_change=True)

    def check(self) -> None:
        """Raise `UserError` for options of an adapter that is not asked for."""
        given = [field.name for field in fields(LoraArguments) if getattr(self, field.name) != field.default]
        if given and self.lora_r == 0:
            raise UserError(f"--{given[0]} is given, but no adapter is asked for: give its rank, --lora_r, as well")


def planned_lora(args: LoraArguments) -> dict[str, float | str | bool | None]:
    """Return those of a stage's arguments that decide an adapter's memory, as the planner takes them; none without."""
    names = ("lora_r", "lora_dropout", "lora_target_modules", "merge_adapter")
    return {name: getattr(args, name) for name in names} if args.lora_r else {}


def default_targets(config: PretrainedConfig) -> list[str] | str:
    """Return peft's choice of layers for a family, else its word for all linear layers of the blocks."""
    return TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(config.model_type) or INCLUDE_LINEAR_LAYERS_SHORTHAND


def add_lora(
    model: PreTrainedModel, args: LoraArguments, seed: int, base: str | Path, blocks: Sequence[nn.Module] | None = None
) -> peft.PeftModel:
    """Put LoRA layers into `model`, in place, and freeze all else of it; return peft's wrapper, which saves them.

    `base` (a directory or Hub id) is where the model comes from: the adapter names it. With `blocks` they alone get
    layers. Raises `UserError` where no layer has a wanted name.
    """
    training = model.training
    model.name_or_path = str(Path(base).absolute()) if Path(base).exists() else str(base)
    wanted = args.lora_target_modules
    targets = [name.strip() for name in wanted.split(",")] if wanted else default_targets(model.config)
    if blocks is not None:
        targets = names_within(model, targets, blocks)
    is_lm = model.get_output_embeddings() is not None
    config = peft.LoraConfig(
        r=args.lora_r,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=targets,
        task_type="CAUSAL_LM" if is_lm else None,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2's layers are transposed
    )
    torch.manual_seed(seed)  # the same first numbers on every process, and after a restart
    try:
        adapter = wrapped(model, config)
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"--lora_target_modules {wanted}: {str(error).strip().splitlines()[0]}") from error
    adapter.train(training)
    return adapter


def names_within(model: nn.Module, targets: list[str] | str, blocks: Sequence[nn.Module]) -> list[str]:
    """Return the full names of the linear layers in some `blocks` of `model` that `targets` mean."""
    inside = {id(module) for block in blocks for module in block.modules()}
    names = []
    for name, module in model.named_modules():
        if id(module) in inside and isinstance(module, nn.Linear | Conv1D):
            ends = targets if isinstance(targets, list) else [name]
            names += [name] if any(name == end or name.endswith(f".{end}") for end in ends) else []
    if not names:
        raise UserError(f"no linear layer in the trained blocks is called {targets}: see --lora_target_modules")
    return names


def save_adapter(
    adapter: peft.PeftModel, state: dict[str, torch.Tensor], directory: Path, **head: torch.Tensor
) -> None:
    """Write an adapter of the weights `state` (names as the wrapper has them); a reward model's `head` beside it."""
    adapter.save_pretrained(directory, state_dict=state, save_embedding_layers=False)
    if head:
        save_file({f"v_head.{name}": x.contiguous() for name, x in head.items()}, directory / HEAD)


def merged(base: PreTrainedModel, adapter: peft.PeftModel, state: dict[str, torch.Tensor]) -> PreTrainedModel:
    """Merge an adapter's weights `state` into `base`, the model in fp32 that it was trained on; return it."""
    model = wrapped(base, copy.deepcopy(adapter.active_peft_config))
    model.load_state_dict({**model.state_dict(), **state})
    return model.merge_and_unload()


def base_record(adapter: peft.PeftModel | None, args: LoraArguments, base: str | Path) -> dict[str, str | None]:
    """Return what run.json says of the base of an adapter that is written alone: which weights it belongs to."""
    return {} if adapter is None or args.merge_adapter else {"base_sha256": weights_digest(base)}


def base_config(path: str | Path) -> PretrainedConfig:
    """Read the config of a model's directory or Hub id, of an adapter that of the model at the bottom of it."""
    path = find_bottom(path)
    with reading(path, "config of") if Path(path).exists() else from_hub("model", path):
        return AutoConfig.from_pretrained(str(path))


def check_adapter(directory: Path) -> None:
    """Raise `UserError` where an adapter is not one for its base, by names and shapes; read no more than headers."""
    config, base = read_config(directory), base_config(directory)
    unset_hf_deepspeed_config()  # as in load_causal_lm
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(base)
        model = model if config.task_type == "CAUSAL_LM" else model.base_model
        with reading(directory, "adapter", "does it fit its model?"):
            fresh = wrapped(model, config, low_cpu_mem_usage=True)
    file = next((directory / name for name in WEIGHTS if (directory / name).is_file()), directory / WEIGHTS[0])
    found = shapes_in(file) if file.suffix == ".safetensors" else shapes_of(state_dict_of(file))
    check_shapes(directory, shapes_of(peft.get_peft_model_state_dict(fresh, save_embedding_layers=False)), found)


def reward_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the weights of a reward model, `transformer.*` and `v_head.*`; an adapter merged into its base, in fp32.

    Raises `UserError` for an adapter without a head.
    """
    path = Path(path)
    if not is_adapter(path):
        return state_dict_of(path)
    require_head(path)
    backbone = load_adapter(path, lambda base: load_causal_lm(base).base_model, state_dict_of)
    return {f"transformer.{name}": x for name, x in backbone.state_dict().items()} | state_dict_of(path / HEAD)


def require_head(path: Path) -> None:
    """Raise `UserError` for an adapter that is no reward model's, or has lost its head."""
    if not (path / HEAD).is_file():
        raise UserError(
            f"{path} holds an adapter, but no {HEAD} beside it: a language model's adapter, or a reward model that has "
            "lost its head; copy or train it again"
        )
