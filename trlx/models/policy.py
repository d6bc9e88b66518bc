"""The policy: a causal LM with a value head and a reference that shares all it can with it.

Shapes: B batch, L tokens of prompt and response together, R response, H hidden, V vocabulary.
Rows hold the prompt from position 0, the response right behind it, padding last. Response token t sits at
position `prompt_length + t`; its logits and `values[:, t]` come from the position before it.
"""

import contextlib
import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.over_vocabulary import in_pieces
from summarize_rlhf.lm.recomputation import recompute_blocks
from trlx.models import lora
from trlx.models.value_head import make_head
from trlx.utils.modeling import entropy_of, logprobs_of_labels


class PolicyOutput(NamedTuple):
    """Per-token results of a batch; nothing over the vocabulary leaves the forward pass."""

    logprobs: Tensor  # (B, R) log-probability of each response token
    values: Tensor  # (B, R) value before it
    entropy: Tensor  # (B, R) of the distribution it was drawn from, in nats, without gradient
    ref_logprobs: Tensor | None  # (B, R) under the reference
    trunk: Tensor | None  # (B, L, H) output of the frozen trunk, the same in every PPO epoch


class PolicyWithValueHead(nn.Module):
    """Policy, value head and reference in one module, so that DDP and DeepSpeed wrap, cast and shard them together.

    What trains, and what the reference is, follows from how the model was given:

    - `num_layers_unfrozen` k ≥ 0: the top k blocks train and nothing else; the reference is a frozen copy of these
      blocks on top of the same trunk ("hydra"). With k = 0 only the value head trains.
    - -1: everything trains; the reference is a frozen copy of everything.
    - a peft model: its adapters train; the reference is the model with the adapters switched off.

    With `num_value_layers_unfrozen` n > 0 the value function has its own trainable copy of the top n blocks, with -1 of
    the whole model. Raises `UserError` for a family that cannot be cut into blocks (discovery.py), ValueError for
    adapters whose reference would be another model than the initial one (lora.py).
    """

    def __init__(self, model: nn.Module, num_layers_unfrozen: int = -1, num_value_layers_unfrozen: int = 0):
        super().__init__()
        self.model = model
        self.is_adapter = not isinstance(model, PreTrainedModel)  # a peft.PeftModel around it
        self.base_sha256: str | None = None  # of the weights an adapter was put on, where they came from a directory
        if self.is_adapter:
            lora.check_config(model.active_peft_config)
            lora.check_value_layers(num_value_layers_unfrozen)
        self.config = self.causal_lm.config
        self.decoder = Decoder(self.causal_lm)
        head = self.causal_lm.get_output_embeddings()
        self.v_head = make_head(head.in_features, 1)
        self.depth: int | None = None  # how many blocks the frozen trunk has; None: there is none
        self.value_blocks: nn.ModuleList | None = None
        self.value_model: PreTrainedModel | None = None
        self.reference: nn.Module | None = None
        self.reference_decoder = self.decoder
        if num_value_layers_unfrozen < 0:
            self.value_model = copy.deepcopy(model.base_model).requires_grad_(True)
            self.value_decoder = Decoder(self.value_model)
        elif num_value_layers_unfrozen > 0:
            self.value_blocks = self._copied_top(num_value_layers_unfrozen).requires_grad_(True)
        if self.is_adapter:
            pass  # peft has frozen what is not an adapter
        elif num_layers_unfrozen < 0:
            self.reference = copy.deepcopy(model).requires_grad_(False)
            self.reference_decoder = Decoder(self.reference)
        else:
            blocks = self.decoder.blocks
            first_trained = max(len(blocks) - num_layers_unfrozen, 0)
            model.requires_grad_(False)
            blocks[first_trained:].requires_grad_(True)
            self.depth = min(first_trained, max(len(blocks) - max(num_value_layers_unfrozen, 0), 0))
            self.reference = copy.deepcopy(blocks[self.depth :]).requires_grad_(False)
        self.eval()  # no dropout, ever: the ratio compares like with like
        self.decoder.prove(self.depth if self.value_blocks is None else self.depth or 0)

    @property
    def causal_lm(self) -> PreTrainedModel:
        """Return the transformers model inside a peft wrapper, or the model itself."""
        return self.model.get_base_model() if self.is_adapter else self.model

    def generate(self, *args, **kwargs) -> Tensor:
        """Generate by the causal language model's own `generate`, as trlX's models do."""
        return self.causal_lm.generate(*args, **kwargs)

    @property
    def trunk_depth(self) -> int | None:
        """Return the block that the frozen trunk's output enters; None without a trunk, or where no block follows."""
        return None if self.depth is None or self.depth == len(self.decoder.blocks) else self.depth

    def _copied_top(self, n: int) -> nn.ModuleList:
        blocks = self.decoder.blocks
        return copy.deepcopy(blocks[max(len(blocks) - n, 0) :])

    def checkpoint_blocks(self, on: bool) -> None:
        """Recompute the trained blocks' activations in the backward pass instead of keeping them."""
        for block in recompute_blocks(self, on):
            block.training = on  # of the block alone: its dropouts stay in evaluation mode

    def forward(
        self,
        tokens: Tensor,  # (B, L)
        prompt_lengths: Tensor,  # (B,)
        responses: Tensor,  # (B, R)
        temperature: float = 1.0,
        trunk: Tensor | None = None,  # (B, L, H) of an earlier call
        with_reference: bool = False,
        keep_from: int = 0,
    ) -> PolicyOutput:
        """Return log-probabilities, values and entropy of `responses`; entries behind a response's end mean nothing.

        The logits are divided by `temperature`, the policy's as well as the reference's. `keep_from`, at most the
        shortest prompt's length less 1: the last block computes nothing before it (last_block.py).
        """
        if self.depth is not None and trunk is None:
            with torch.no_grad():
                trunk = self.decoder.run_trunk(self.depth, input_ids=tokens)
        before = prompt_lengths[:, None] - 1 + torch.arange(responses.shape[1], device=tokens.device)
        before = before.clamp(max=tokens.shape[1] - 1)  # (B, R) position before each response token

        states, value_states = self._states(tokens, trunk, keep_from)
        logprobs, entropy = self._of_responses(self.decoder, states, before, responses, temperature)
        values = self.v_head(_pick(value_states, before)).squeeze(-1)  # (B, R), fp32
        ref_logprobs = None
        if with_reference:
            with torch.no_grad():
                ref_logprobs = self.reference_logprobs(tokens, trunk, before, responses, temperature, keep_from)
        return PolicyOutput(logprobs, values, entropy.detach(), ref_logprobs, trunk)

    def _states(self, tokens: Tensor, trunk: Tensor | None, keep_from: int) -> tuple[Tensor, Tensor]:
        """Return last hidden states (B, L, H) for logits and for the value head; undefined before `keep_from`."""
        if self.value_model is not None:
            value_states = self.value_decoder.run_backbone(keep_from, input_ids=tokens)
            if trunk is None:
                return self.decoder.run_backbone(keep_from, input_ids=tokens), value_states
            return self.decoder.run_top(list(self.decoder.blocks)[self.depth :], trunk, keep_from), value_states
        if trunk is None and self.value_blocks is None:
            states = self.decoder.run_backbone(keep_from, input_ids=tokens)
            return states, states
        decoder, depth = self.decoder, self.depth or 0
        hidden = decoder.run_trunk(0, input_ids=tokens) if trunk is None else trunk
        blocks = list(decoder.blocks)
        if self.value_blocks is None:
            states = decoder.run_top(blocks[depth:], hidden, keep_from)
            return states, states
        fork = len(blocks) - len(self.value_blocks)
        if fork > depth:
            hidden = decoder.run_middle(depth, fork, hidden)
        states = decoder.run_top(blocks[fork:], hidden, keep_from)
        return states, decoder.run_top(self.value_blocks, hidden, keep_from)

    def reference_logprobs(self, tokens, trunk, before, responses, temperature, keep_from) -> Tensor:
        """Return log-probabilities (B, R) of the responses under the reference; arguments as in `forward`."""
        with self.model.disable_adapter() if self.is_adapter else contextlib.nullcontext():
            if self.depth is not None:
                states = self.reference_decoder.run_top(self.reference, trunk, keep_from)
            else:
                states = self.reference_decoder.run_backbone(keep_from, input_ids=tokens)
            return self._of_responses(self.reference_decoder, states, before, responses, temperature)[0]

    def _of_responses(self, decoder: Decoder, states, before, responses, temperature: float) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropy (B, R) each, from states (B, L, H) at the positions `before` alone.

        The logits are fp32 from the head on, divided by the temperature; those of a large batch are never all there.
        """

        def of_tokens(states: Tensor, tokens: Tensor) -> Tensor:  # (N, H), (N) -> (N, 2)
            logits = decoder.run_head(states[None])[0].float() / temperature
            with torch.no_grad():
                entropy = entropy_of(logits)
            return torch.stack([logprobs_of_labels(logits, tokens), entropy], 1)

        picked = _pick(states, before).flatten(0, 1)
        return in_pieces(self.causal_lm, of_tokens, picked, responses.flatten()).view(*responses.shape, 2).unbind(2)


def _pick(states: Tensor, positions: Tensor) -> Tensor:
    """Gather states (B, L, H) at positions (B, R) -> (B, R, H)."""
    return states.gather(1, positions[..., None].expand(-1, -1, states.shape[-1]))
