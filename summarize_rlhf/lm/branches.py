"""Running a slice of a decoder's blocks with the decoder's own forward.

A branch is a shallow copy of the base model: its list of blocks is replaced by a slice, everything else (norm,
rotary tables, masks) is shared, and the hidden state at the branching point goes in as `inputs_embeds`. So
no family's block is written again here, and a policy can be cut into a frozen trunk, run once, and tops:
the policy's, the reference's ("hydra"), the value function's. What differs between families is `FAMILIES`.
The head is a branch too: the whole model around a base model that hands on the hidden states it is given.

Shapes: B batch, L tokens, H hidden, V vocabulary.
"""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from summarize_rlhf.lm.last_block import keep_last_block_from
from summarize_rlhf.run.zero3 import is_spread


@dataclass(frozen=True)
class Family:
    """Where a decoder family keeps its parts, as attribute names of its decoder.

    decoder: path from the base model to the module that runs the blocks; "" where it is the base model itself.
    blocks: its list of blocks.
    entry: what happens to `inputs_embeds` before the first block, and must not happen again at a branch: learned
    position embeddings, a projection. exit: what happens behind the last block, and must not happen to a trunk.
    attention, mlp: these parts of a block; None where the MLP is no module of its own.
    """

    blocks: str
    exit: tuple[str, ...]
    entry: dict[str, type[nn.Module]] = field(default_factory=dict)
    decoder: str = ""
    attention: str = "self_attn"
    mlp: str | None = "mlp"


class _NoPositions(nn.Module):
    """Stands in for learned position embeddings at a branch, where they have been added already."""

    def forward(self, *_args, **_kwargs) -> Tensor:
        return torch.zeros(())


class _States(BaseModelOutputWithPastAndCrossAttentions):
    """Last hidden states and nothing else, whatever more a family's head hands on (recurrent state, router logits)."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Given(nn.Module):
    """Stands in for a decoder whose last hidden states (B, L, H) are known: they are its input."""

    def forward(self, *_args, inputs_embeds: Tensor, **_kwargs) -> _States:
        return _States(last_hidden_state=inputs_embeds)


_LLAMA = Family(blocks="layers", exit=("norm",))
FAMILIES = {
    "gptj": Family(blocks="h", exit=("ln_f",), attention="attn"),
    "gpt2": Family(blocks="h", exit=("ln_f",), attention="attn", entry={"wpe": _NoPositions}),
    "gpt_neox": Family(blocks="layers", exit=("final_layer_norm",), attention="attention"),
    "opt": Family(
        blocks="layers",
        exit=("final_layer_norm", "project_out"),
        entry={"embed_positions": _NoPositions, "project_in": nn.Identity},
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


class Decoder:
    """The parts of `base` (a transformers base model such as GPTJModel) and the branches made of them.

    Raises ValueError for a family that `FAMILIES` does not list.
    """

    def __init__(self, base: PreTrainedModel):
        kind = base.config.model_type
        if kind not in FAMILIES:
            raise ValueError(
                f"Freezing the lower blocks of a {kind!r} model needs to know where it keeps them: add a row to "
                f"FAMILIES in summarize_rlhf/lm/branches.py (known: {', '.join(FAMILIES)}), or train all of it with "
                "model.num_layers_unfrozen = -1, or use LoRA (model.peft_config)."
            )
        self.family = FAMILIES[kind]
        self.module = base.get_submodule(self.family.decoder)

    @property
    def blocks(self) -> nn.ModuleList:
        return self.module.get_submodule(self.family.blocks)

    def backbone(self, keep_from: int = 0) -> nn.Module:
        """All of it, with the last block computed from token `keep_from` on (see last_block.py)."""
        return self._with(self.blocks, start=0, parts={}, keep_from=keep_from)

    def trunk(self, depth: int) -> nn.Module:
        """Embeddings and the lowest `depth` blocks, without what follows the last block."""
        return self._with(self.blocks[:depth], start=0, parts={name: nn.Identity() for name in self.family.exit})

    def middle(self, start: int, stop: int) -> nn.Module:
        """The blocks from `start` to before `stop`, fed with hidden states."""
        parts = {name: replacement() for name, replacement in self.family.entry.items()}
        parts |= {name: nn.Identity() for name in self.family.exit}
        return self._with(self.blocks[start:stop], start=start, parts=parts)

    def top(self, blocks: nn.ModuleList, keep_from: int = 0) -> nn.Module:
        """`blocks` (the model's own upper ones, or copies of them) and what follows them, fed with hidden states.

        With a `keep_from`, the states before that token mean nothing.
        """
        parts = {name: replacement() for name, replacement in self.family.entry.items()}
        return self._with(blocks, start=len(self.blocks) - len(blocks), parts=parts, keep_from=keep_from)

    def _with(self, blocks: nn.ModuleList, start: int, parts: dict[str, nn.Module], keep_from: int = 0) -> nn.Module:
        """A shallow copy of the decoder around other `blocks`; a configuration to match, as some index it by layer."""
        # ZeRO-3 keeps count on a block of its calls, and loses it on a copy: there the last one runs everywhere.
        if keep_from > 0 and len(blocks) > 0 and not is_spread(blocks[-1]):
            last = keep_last_block_from(blocks[-1], self.family.attention, self.family.mlp, keep_from)
            blocks = nn.ModuleList([*blocks[:-1], last])
        branch = _with_parts(self.module, {self.family.blocks: blocks, **parts})
        branch.config = copy.copy(self.module.config)
        branch.config.num_hidden_layers = len(blocks)
        layer_types = branch.config.to_dict().get("layer_types")
        if layer_types is not None:
            branch.config.layer_types = layer_types[start : start + len(blocks)]
        return branch


def _with_parts(module: nn.Module, parts: dict[str, nn.Module]) -> nn.Module:
    """A shallow copy of `module` that shares everything but `parts`."""
    changed = copy.copy(module)
    changed._modules = {**module._modules, **parts}
    return changed


def backbone(model: PreTrainedModel, keep_from: int) -> nn.Module:
    """All blocks of a causal LM or a base model, the last one from token `keep_from` on where the family is known."""
    if keep_from <= 0 or model.config.model_type not in FAMILIES:
        return model.base_model
    return Decoder(model.base_model).backbone(keep_from)


def run_branch(branch: nn.Module, **inputs: Tensor) -> Tensor:
    """The branch's output (B, L, H) for `input_ids` (B, L) or `inputs_embeds` (B, L, H).

    No mask: rows hold their tokens from position 0 and padding behind them, which causal attention never sees.
    """
    return branch(**inputs, use_cache=False).last_hidden_state


def run_head(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Logits (B, L, V) for last hidden states (B, L, H): the output embeddings, and scaling or capping if any."""
    base: nn.Module = _Given()
    if model.config.model_type in FAMILIES and FAMILIES[model.config.model_type].decoder:
        base = _with_parts(model.base_model, {FAMILIES[model.config.model_type].decoder: base})
    return _with_parts(model, {model.base_model_prefix: base})(inputs_embeds=states).logits
