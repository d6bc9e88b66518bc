"""Memory of stage 2, and of its model where stage 3 scores: run on fake tensors (summarize_rlhf/lm/footprint.py)."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers import AutoModel, PretrainedConfig

from reward_model.frozen_blocks import TOKENS_ON_GPU, can_keep
from reward_model.loss import pairwise_loss
from reward_model.pairs import PackedPairs
from reward_model.placement import shard
from reward_model.reward_model import RewardModel
from summarize_rlhf.lm.families import decoder_blocks
from summarize_rlhf.lm.footprint import HOST, Ledger, answer_deepspeed, cast, fake_model, held, train, written
from summarize_rlhf.lm.lora import LoraArguments, add_lora
from summarize_rlhf.lm.recomputation import require_recomputation
from summarize_rlhf.lm.speed import CACHE_TOKENS
from summarize_rlhf.run.zero3 import gathered_model, is_spread

SUMMARY = 100  # tokens of a summary, a long one: what the two texts of a pair do not share


def run(
    config: PretrainedConfig,
    dtype: torch.dtype,
    deepspeed: dict[str, Any],
    ledger: Ledger,
    batch: int,
    tokens: int,
    trainable_fraction: float,
    keeps_trunk: bool,
    checkpointing: bool,
    on_cpu: bool,
    lora: LoraArguments,
) -> None:
    """Train on micro-batches of `batch` packed pairs of `tokens` tokens; compute frozen outputs first if they are kept.

    The model is written at the end, from a GPU as a copy in main memory.
    """
    with ledger.making("weights as loaded, fp32", HOST):
        model = RewardModel(fake_model(AutoModel.from_config, config))
        model.freeze(trainable_fraction)
        if lora.lora_r:
            top = decoder_blocks(model.transformer)[model.depth :] if model.depth else None
            add_lora(model.transformer, lora, 0, "base", top)
    with ledger.making("weights"):
        cast(model, dtype)
    if checkpointing:
        require_recomputation(model, config.model_type)
    pack, at_once = PackedPairs(0), CACHE_TOKENS if on_cpu else TOKENS_ON_GPU
    if keeps_trunk and can_keep(model):
        with torch.no_grad():
            model.frozen(**pack.inputs(pairs(pack, max(1, at_once // (tokens + SUMMARY)), tokens)))
    rows = pairs(pack, batch, tokens)

    def loss(engine: Any) -> Tensor:
        chosen, rejected = pack.values(engine, rows).unbind(1)
        return pairwise_loss(chosen, rejected, *rows["lengths"].unbind(1), rows["start"]).sum()

    engine = train(model.train(), loss, deepspeed, ledger)
    with ledger.making("weights as written", HOST):
        copied = bool(lora.lora_r) or not on_cpu or is_spread(model)
        kept = written(x for x in model.parameters() if copied and (x.requires_grad or not lora.lora_r))
        whole = fake_model(AutoModel.from_config, config) if lora.merge_adapter else None
    del kept, whole
    with gathered_model(engine):  # for the card: of what ZeRO-3 has partitioned everything
        pass
    del engine


def pairs(pack: PackedPairs, count: int, tokens: int) -> dict[str, Any]:
    """Collate pairs whose texts have `tokens` tokens each and differ in their summaries."""
    text = {"chosen_ids": [1] * tokens, "rejected_ids": [1] * tokens, "start": tokens - SUMMARY}
    with unset_fake_temporarily():
        return pack([text] * count)


def judge(
    config: PretrainedConfig, dtype: torch.dtype, ledger: Ledger, tokens: int, batch_tokens: int, spread: bool
) -> Callable[[], None]:
    """Build the reward model of stage 3, whole or `spread` over all; return what scores texts of `tokens` tokens."""
    config = copy.deepcopy(config)  # `from_config` writes the dtype into it
    with ledger.making("reward model"):
        model = RewardModel(fake_model(lambda config: AutoModel.from_config(config, dtype=dtype), config)).eval()
        forward: torch.nn.Module = model
        if spread:
            answer_deepspeed(ledger)
            forward = shard(model)
            ledger.name("reward model", held(model))

    def run_batch() -> None:
        with torch.no_grad():
            forward(torch.ones(max(1, batch_tokens // tokens), tokens, dtype=torch.long), keep_from=tokens - 1)

    return run_batch
