"""The reward model: the backbone of any causal language model and one linear value per token.

Shapes: B texts, T tokens (padded on the right), H hidden size.
"""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.integrations import unset_hf_deepspeed_config

from summarize_rlhf import UserError
from summarize_rlhf.lm.adapters import is_adapter
from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.families import decoder_blocks
from summarize_rlhf.lm.lora import HEAD, base_config, check_adapter, require_head, reward_weights
from summarize_rlhf.lm.precision import Fp32Linear
from summarize_rlhf.lm.speed import tune_model
from summarize_rlhf.lm.weights import (
    WEIGHT_FILES,
    check_forward,
    check_shapes,
    load_causal_lm,
    shapes_in,
    shapes_of,
)
from summarize_rlhf.reading import reading


class RewardModel(nn.Module):
    """`transformer` (the backbone, as `AutoModel` builds it) and `v_head` (Linear, H to 1, no bias, in fp32).

    The checkpoint's keys are `transformer.*` and `v_head.weight`, those of the published reward model.
    """

    def __init__(self, transformer: PreTrainedModel):
        super().__init__()
        self.transformer = transformer
        self.decoder = Decoder(transformer)
        self.v_head = Fp32Linear(width(transformer.config), 1, bias=False, dtype=torch.float32)
        self.depth = 0  # frozen blocks, from the bottom

    @property
    def config(self) -> PretrainedConfig:
        return self.transformer.config

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        keep_from: int = 0,
        trunk: Tensor | None = None,
    ) -> Tensor:
        """Compute one value per token (B, T), fp32: `values[:, t]` has seen the tokens up to and including `t`.

        `input_ids` (B, T) are padded on the right. Attention is causal, so that padding changes no value of a real
        token and needs no mask; values on padding mean nothing. Nor do those before token `keep_from`: the
        last block computes nothing there (`summarize_rlhf/lm/last_block.py`). For packed pairs (`pairs.py`) the mask
        (B, 1, T - keep_from, T) says whom the tokens from `keep_from` on see, and `position_ids` (B, T) at which
        positions all stand. With `trunk` (B, T, H), the output of `frozen`, the trained blocks alone run.
        """
        given = {"attention_mask": attention_mask, "position_ids": position_ids}
        given = {name: tensor for name, tensor in given.items() if tensor is not None}  # not every family takes them
        if trunk is None:
            hidden = self.decoder.run_backbone(keep_from, input_ids=input_ids, **given)
        else:
            hidden = self.decoder.run_top(list(self.decoder.blocks)[self.depth :], trunk, keep_from, **given)
        return self.v_head(hidden).squeeze(-1)

    def frozen(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        """Compute the frozen blocks' output for packed pairs (B, T, H), the same in every epoch."""
        inputs = {"attention_mask": attention_mask, "position_ids": position_ids}
        return self.decoder.run_trunk(self.depth, input_ids=input_ids, **inputs)

    @classmethod
    def from_causal_lm(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> "RewardModel":
        """Take the backbone of a causal LM (a directory or Hub id) and a fresh `v_head`, for training."""
        return cls(load_causal_lm(path, dtype=dtype).base_model)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, config_from: str | Path | None = None, dtype: torch.dtype = torch.float32
    ) -> "RewardModel":
        """Load a trained reward model: our directory, or the published `pytorch_model.bin` (file or directory).

        The published file has no config: it is read from `config_from`, the SFT model it was trained from.
        Raises `UserError` naming every key that is missing, foreign or of another shape.
        """
        require(path)
        config = load_config(Path(path), config_from)
        with reading(path, "reward model's config in", "copy or train it again"), no_init_weights():
            backbone = AutoModel.from_config(config, dtype=dtype)
        with no_init_weights():
            model = cls(tune_model(backbone))
        expected, found = model.state_dict(), reward_weights(path)
        check_shapes(path, shapes_of(expected), shapes_of(found))
        # Copied: a file's own memory may be aligned otherwise, and products then round otherwise.
        model.load_state_dict(found, strict=False)
        check_forward(path, model.eval().transformer)
        return model

    @classmethod
    def check(cls, directory: Path) -> None:
        """Raise the `UserError` that `from_pretrained` would raise for what `save` wrote; read no more than headers."""
        require(directory)
        unset_hf_deepspeed_config()  # as in load_causal_lm
        config = load_config(directory, None)
        if is_adapter(directory):
            check_adapter(directory)
            check_shapes(directory, {"v_head.weight": torch.Size([1, width(config)])}, shapes_in(directory / HEAD))
            return
        with torch.device("meta"):
            model = cls(AutoModel.from_config(config))
        check_shapes(directory, shapes_of(model.state_dict()), shapes_in(directory / "model.safetensors"))

    def digest(self) -> str:
        """Return the SHA-256 of config and weights, on which cached results depend."""
        made = hashlib.sha256(self.config.to_json_string().encode())
        for name, tensor in self.state_dict().items():
            made.update(name.encode())
            made.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
        return made.hexdigest()

    def save(self, directory: Path, state: dict[str, Tensor] | None = None) -> None:
        """Write `model.safetensors` and `config.json` into `directory`.

        `state` is written instead of the model's own tensors where ZeRO-3 has partitioned these
        (`summarize_rlhf/run/zero3.py`).
        """
        state = self.state_dict() if state is None else state
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(state, directory / "model.safetensors", metadata={"format": "pt"})
        self.config.dtype = self.transformer.dtype  # DeepSpeed may have trained in another one than was loaded
        self.config.save_pretrained(directory)

    def freeze(self, trainable_fraction: float) -> None:
        """Train the top `trainable_fraction` of the blocks (at least one), the final norm and `v_head`.

        The embeddings stay frozen, so that the backward pass ends at the lowest trained block. The published
        code froze the lower blocks only: its final norm was trained, like here, but so were its embeddings.
        With 1.0 everything trains, embeddings too.
        """
        if not 0 < trainable_fraction <= 1:
            raise UserError(f"trainable_fraction is {trainable_fraction}; expected above 0 and at most 1")
        if trainable_fraction == 1:
            return
        blocks = decoder_blocks(self.transformer)
        trained = max(1, int(trainable_fraction * len(blocks) + 1e-6))  # rounded down, as published: 8 of 28
        embeddings = [module for module in self.transformer.modules() if isinstance(module, nn.Embedding)]
        self.depth = len(blocks) - trained
        for module in [*embeddings, *blocks[: self.depth]]:
            module.requires_grad_(False)


def width(config: PretrainedConfig) -> int:
    """Return the size H of the last hidden states, which OPT-350m projects to that of its embeddings."""
    return config.to_dict().get("word_embed_proj_dim") or config.hidden_size


def require(path: str | Path) -> None:
    """Raise `UserError` where there are no weights at `path`, saying where a reward model comes from."""
    path = Path(path)
    if is_adapter(path):
        require_head(path)
    elif not path.is_file() and not any((path / name).is_file() for name in WEIGHT_FILES):
        raise UserError(
            f"no reward model at {path}: train one with reward_model/train_reward_model_gptj.py, or fetch the "
            "published one with python -m reward_model.download"
        )


def load_config(path: Path, config_from: str | Path | None) -> PretrainedConfig:
    """Read the backbone's config: beside the weights, else from `config_from` (a directory or a Hub id)."""
    source = path if (path / "config.json").is_file() or is_adapter(path) else config_from
    if source is None:
        raise UserError(
            f"{path} has no config.json. The published reward model has none; name the model it was trained "
            "from (the SFT directory of stage 1)"
        )
    return base_config(source)
