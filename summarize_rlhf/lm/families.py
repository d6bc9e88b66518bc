"""What differs between decoder families: where each keeps its parts, and whether packed rows give its values."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from summarize_rlhf import UserError


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
    attention, mlp: these parts of a block; None where the MLP is no module of its own, or where it is not known.
    """

    blocks: str
    exit: tuple[str, ...]
    entry: dict[str, type[nn.Module]] = field(default_factory=dict)
    decoder: str = ""
    attention: str | None = "self_attn"
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
    "phi": Family(blocks="layers", exit=("final_layernorm",), entry={"embed_dropout": nn.Identity}),
}


def blocks_path(transformer: PreTrainedModel) -> str | None:
    """Find the blocks of a base model of any family: its first module list with as many entries as the config has
    layers. None where there is none."""
    count = transformer.config.to_dict().get("num_hidden_layers") or transformer.config.num_hidden_layers
    for name, module in transformer.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name
    return None


def decoder_blocks(transformer: PreTrainedModel) -> nn.ModuleList:
    """Return the blocks of a base model of any family. Raises `UserError` where it has no list of them."""
    path = blocks_path(transformer)
    if path is None:
        raise UserError(f"{type(transformer).__name__} has no list of its blocks; train it with trainable_fraction 1")
    return transformer.get_submodule(path)


def attends_to_all(config: PretrainedConfig, tokens: int) -> bool:
    """Whether every layer attends to all of `tokens`: there is no sliding window, or none that is shorter."""
    own = config.to_dict()
    window = own.get("sliding_window") or 0
    kinds = own.get("layer_types") or (["sliding"] if window else [])
    return window >= tokens or not any("sliding" in kind or "chunked" in kind for kind in kinds)
