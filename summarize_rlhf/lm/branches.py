"""Run a slice of a decoder's blocks with the decoder's own forward.

A branch is a shallow copy of the decoder: its list of blocks is replaced by a slice, everything else (norm, rotary
tables, masks) is shared, and the hidden state at the branching point goes in as `inputs_embeds`. So no family's block
is written again here, and a policy can be cut into a frozen trunk, run once, and tops: the policy's, the reference's
("hydra"), the value function's. The head is a branch too: the whole model around a base model that returns the hidden
states it is given. What differs between families is in families.py. Each shallow copy is made once, at its first run.

Shapes: B batch, L tokens, H hidden, V vocabulary.
"""

import copy
import functools
from collections.abc import Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from summarize_rlhf.lm import discovery
from summarize_rlhf.lm.families import FAMILIES, Family
from summarize_rlhf.lm.last_block import checkpoint_kept, keeping_from, kept_children
from summarize_rlhf.run.zero3 import is_spread


class _States(BaseModelOutputWithPastAndCrossAttentions):
    """Last hidden states; None for whatever else a family's head hands on (recurrent state, router logits)."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Given(nn.Module):
    """Replaces a decoder whose last hidden states (B, L, H) are known: they are its input."""

    def forward(self, *_args, inputs_embeds: Tensor, **_kwargs) -> _States:
        return _States(last_hidden_state=inputs_embeds)


class ShallowCopy:
    """A copy of `module` that shares everything but some children and attributes.

    `follow` brings it up to date: flags, hooks, parameters and the other children are then the module's of that moment.
    """

    def __init__(self, module: nn.Module, children: dict[str, nn.Module], **attributes: object):
        self.module, self.children, self.attributes = module, children, attributes
        self.copy = copy.copy(module)

    def follow(self) -> nn.Module:
        children = {**self.module._modules, **self.children}
        self.copy.__dict__.update(self.module.__dict__ | self.attributes | {"_modules": children})
        return self.copy


class _LastBlock(ShallowCopy):
    """The last block of a branch, computed from `keep_from` on."""

    def __init__(self, block: nn.Module, attention: str, mlp: str | None):
        super().__init__(block, kept_children(block, attention, mlp))

    def follow(self) -> nn.Module:
        for name, kept in self.children.items():
            kept.inner = self.module.get_submodule(name)
        block = super().follow()
        checkpoint = block.__dict__.get("_gradient_checkpointing_func")
        if checkpoint is not None:
            block._gradient_checkpointing_func = functools.partial(checkpoint_kept, checkpoint)
        return block


class Decoder:
    """The decoder of a causal LM or base model, run as a whole or in branches.

    No part of the model: it holds no weights of its own, and a copy of it starts without branches. Inputs are
    `input_ids` (B, L) or hidden states (B, L, H). Without a mask, rows hold their tokens from position 0 and padding
    behind them, which causal attention never sees. Where a family that `FAMILIES` does not list has its parts is found
    by `discovery.discover`, which raises `UserError` where it cannot; `prove` says whether that is right.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self._branches: dict[object, list[ShallowCopy]] = {}  # the branch first, then the copies within it

    def __deepcopy__(self, memo: dict) -> "Decoder":
        return Decoder(copy.deepcopy(self.model, memo))

    @functools.cached_property
    def family(self) -> Family:
        return FAMILIES.get(self.model.config.model_type) or discovery.discover(self.model)

    def prove(self, depth: int | None = None) -> None:
        """Raise `UserError` unless backbone and head, and with a `depth` trunk and top, give what the model gives."""
        discovery.prove(self.model, self, depth)

    @property
    def module(self) -> nn.Module:
        """The module that runs the blocks."""
        return self.model.base_model.get_submodule(self.family.decoder)

    @property
    def blocks(self) -> nn.ModuleList:
        return self.module.get_submodule(self.family.blocks)

    def run_backbone(self, keep_from: int = 0, **inputs) -> Tensor:
        """Run embeddings, all blocks and the final norm: (B, L, H).

        With a `keep_from`, here and in `run_top`, the states before that token mean nothing: where the family is known,
        the last block does not compute them (last_block.py).
        """
        if keep_from <= 0 or self.model.config.model_type not in FAMILIES:
            return self.model.base_model(**{"use_cache": False} | inputs).last_hidden_state
        return self._run(self.blocks, keep_from, **inputs)

    def run_trunk(self, depth: int, **inputs) -> Tensor:
        """Run embeddings and the lowest `depth` blocks, without the final norm: (B, L, H)."""
        return self._run(list(self.blocks)[:depth], with_exit=False, **inputs)

    def run_middle(self, start: int, stop: int, hidden: Tensor) -> Tensor:
        """Run the blocks from `start` to before `stop` on hidden states: (B, L, H)."""
        blocks = list(self.blocks)[start:stop]
        return self._run(blocks, start=start, with_exit=False, inputs_embeds=hidden)

    def run_top(self, blocks: Sequence[nn.Module], hidden: Tensor, keep_from: int = 0, **inputs) -> Tensor:
        """Run `blocks` (the model's upper ones, or copies of them) and the final norm on hidden states: (B, L, H)."""
        start = len(self.blocks) - len(blocks)
        return self._run(blocks, keep_from, start=start, inputs_embeds=hidden, **inputs)

    def run_head(self, states: Tensor) -> Tensor:
        """Return logits (B, L, V) for states (B, L, H): output embeddings, and scaling or capping if there is any."""
        return self.head()(inputs_embeds=states).logits

    def head(self) -> nn.Module:
        """Return the head as the model is now, for many calls: `head(inputs_embeds=states).logits`."""
        if "head" not in self._branches:
            self._branches["head"] = self._make_head()
        head, *_ = [part.follow() for part in self._branches["head"]]
        return head

    def _run(
        self,
        blocks: Sequence[nn.Module],
        keep_from: int = 0,
        start: int | None = None,  # the number of the first block; None: from the embeddings on
        with_exit: bool = True,
        **inputs,
    ) -> Tensor:
        # ZeRO-3 keeps count on a block of its calls, and loses it on a copy: there the last one runs for all tokens.
        keeps = keep_from > 0 and len(blocks) > 0 and self.family.attention is not None and not is_spread(blocks[-1])
        key = (*map(id, blocks), start, with_exit, keeps)
        if key not in self._branches:
            self._branches[key] = self._make_branch(blocks, start, with_exit, keeps)
        branch, *_ = [part.follow() for part in self._branches[key]]
        with keeping_from(keep_from if keeps else 0):
            return branch(**{"use_cache": False} | inputs).last_hidden_state

    def _make_branch(self, blocks: Sequence[nn.Module], start: int | None, with_exit: bool, keeps: bool) -> list:
        """Make the shallow copies for `_run`; the configuration matches, as some families index it by layer."""
        family = self.family
        last = [_LastBlock(blocks[-1], family.attention, family.mlp)] if keeps else []
        blocks = nn.ModuleList([*list(blocks)[: len(blocks) - len(last)], *(part.copy for part in last)])
        children: dict[str, nn.Module] = {family.blocks: blocks}
        if start is not None:
            children |= {name: replacement() for name, replacement in family.entry.items()}
        if not with_exit:
            children |= {name: nn.Identity() for name in family.exit}
        config = copy.copy(self.module.config)
        config.num_hidden_layers = len(blocks)
        layer_types = config.to_dict().get("layer_types")
        if layer_types is not None:
            first = start or 0
            config.layer_types = layer_types[first : first + len(blocks)]
        return [ShallowCopy(self.module, children, config=config), *last]

    def _make_head(self) -> list[ShallowCopy]:
        base, within = _Given(), []
        if self.model.config.model_type in FAMILIES and FAMILIES[self.model.config.model_type].decoder:
            within = [ShallowCopy(self.model.base_model, {FAMILIES[self.model.config.model_type].decoder: base})]
            base = within[0].copy
        return [ShallowCopy(self.model, {self.model.base_model_prefix: base}), *within]
