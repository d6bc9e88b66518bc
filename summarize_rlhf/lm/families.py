"""What differs between decoder families: where each keeps its parts, and whether packed rows give its values."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from summarize_rlhf import UserError
from summarize_rlhf.lm.last_block import has_keep_from

# Families whose decoder takes positions and a ready mask, and whose blocks all see the whole text.
PACKABLE = ("gptj", "gpt2", "gpt_neox", "llama", "opt", "gemma", "phi")


class NoPositions(nn.Module):
    """Replaces learned position embeddings at a branch, where they have been added already."""

    def forward(self, *_args, **_kwargs) -> Tensor:
        return torch.zeros(())


@dataclass(frozen=True)
class Family:
    """Where a decoder family keeps its parts, as attribute names of its decoder.

    decoder: path from the base model to the module that runs the blocks; "" where it is the base model itself.
    blocks: its list of blocks.
    entry: applied to `inputs_embeds` before the first block and not to be repeated at a branch (learned position
    embeddings, a projection), with its replacement there. exit: applied behind the last block, and not to a trunk.
    attention, mlp: these parts of a block; None where the MLP is no module of its own.
    """

    blocks: str
    exit: tuple[str, ...]
    entry: dict[str, type[nn.Module]] = field(default_factory=dict)
    decoder: str = ""
    attention: str = "self_attn"
    mlp: str | None = "mlp"


_LLAMA = Family(blocks="layers", exit=("norm",))
FAMILIES = {
    "gptj": Family(blocks="h", exit=("ln_f",), attention="attn"),
    "gpt2": Family(blocks="h", exit=("ln_f",), attention="attn", entry={"wpe": NoPositions}),
    "gpt_neox": Family(blocks="layers", exit=("final_layer_norm",), attention="attention"),
    "opt": Family(
        blocks="layers",
        exit=("final_layer_norm", "project_out"),
        entry={"embed_positions": NoPositions, "project_in": nn.Identity},
        decoder="decoder",
        mlp=None,
    ),
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "mistral": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
}


def find_family(model: PreTrainedModel) -> Family:
    """Return the row of `FAMILIES` for a model. Raises ValueError where there is none."""
    kind = model.config.model_type
    if kind not in FAMILIES:
        raise ValueError(
            f"Freezing the lower blocks of a {kind!r} model needs to know where it keeps them: add a row to "
            f"FAMILIES in summarize_rlhf/lm/families.py (known: {', '.join(FAMILIES)}), or train all of it with "
            "model.num_layers_unfrozen = -1, or use LoRA (model.peft_config)."
        )
    return FAMILIES[kind]


def decoder_blocks(transformer: PreTrainedModel) -> nn.ModuleList:
    """Return the blocks of a base model of any family: its one module list with as many entries as the config has
    layers. Raises `UserError` where there is none."""
    count = transformer.config.num_hidden_layers
    for module in transformer.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise UserError(f"{type(transformer).__name__} has no list of {count} blocks; train it with trainable_fraction 1")


def can_pack(transformer: PreTrainedModel) -> bool:
    """Whether packed rows (reward_model/pairs.py) give this model's values: the family is in `PACKABLE`, and the
    attention takes a boolean mask about the last tokens alone."""
    return transformer.config.model_type in PACKABLE and has_keep_from(transformer)
