"""Memory of PPO: a collection and an update on fake tensors (summarize_rlhf/lm/footprint.py), at full length."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers import AutoModelForCausalLM, GenerationConfig, PretrainedConfig

from summarize_rlhf.lm.decoding import DecodeBatch, bytes_of_row
from summarize_rlhf.lm.footprint import HOST, Ledger, cast, engine_of, fake_model, held, written
from summarize_rlhf.run.zero3 import gathered_model
from trlx.data.configs import TRLConfig
from trlx.models import lora
from trlx.models.policy import PolicyWithValueHead
from trlx.pipeline.rollouts import Batch, collate_tokens
from trlx.trainer.ppo import loss_of

CACHED = "keys, values, trunk"


def run(
    config: PretrainedConfig,
    dtype: torch.dtype,
    deepspeed: dict[str, Any],
    ledger: Ledger,
    settings: TRLConfig,
    share: int,
    cache_bytes: float,
    tokens_at_once: int | None,
    score: Callable[[], None],
) -> None:
    """Update, generate this process's `share` of the rollouts, score them, run policy and reference, and update again.

    Keys and values may take `cache_bytes`; of prompts `tokens_at_once` are read together, or as many as fit in a chunk.
    """
    method, options = settings.method, settings.train
    new = method.longest_response()
    prompt = options.seq_length - new
    with ledger.making("weights as loaded, fp32", HOST):
        model = fake_model(AutoModelForCausalLM.from_config, config)
        if settings.model.peft_config is not None:
            model = lora.add(model, settings.model.peft_config)
        policy = PolicyWithValueHead(model, settings.model.num_layers_unfrozen, method.num_value_layers_unfrozen)
    with ledger.making("weights"):
        cast(policy, dtype)
    engine = engine_of(policy, deepspeed, ledger, fused=False)
    if policy.reference is not None:
        ledger.name("reference", held(policy.reference))

    def collated(rows: int) -> Batch:
        with unset_fake_temporarily():
            return collate_tokens([[1] * prompt] * rows, [[1] * new] * rows)

    def collect() -> list[Tensor]:
        """Return the trunks that the rollouts keep on the GPU: copies, beside which those of sampling end."""
        rows = max(method.chunk_size, int(cache_bytes // bytes_of_row(policy.causal_lm, prompt + new)))
        rows = min(rows, share)
        generation = GenerationConfig(max_new_tokens=new, do_sample=True, top_k=0, eos_token_id=0)
        with torch.no_grad(), ledger.making(CACHED):
            uniforms = torch.ones(rows, new, dtype=torch.float64)
            prompts = [[1] * prompt] * rows
            batch = DecodeBatch(policy.causal_lm, generation, prompts, uniforms, method.chunk_size, policy.trunk_depth)
            batch.tokens_at_once = tokens_at_once
            with batch.keeping_trunk(), ledger.making("activations"), gathered_model(engine):
                states = batch.prefill()
                ledger.name(CACHED, [x for layer in batch.cache.layers for x in (layer.keys, layer.values)])
                ledger.name(CACHED, [] if batch.trunk is None else [batch.trunk])
                batch.draw(states)
                for _ in range(min(2, new - 1)):
                    batch.step()
            sampled = [] if batch.trunk is None else [batch.trunk[0].clone() for _ in range(share)]
        del batch, states
        score()
        at_once = collated(min(method.chunk_size, share))
        count = len(at_once.tokens)
        with ledger.making(CACHED):
            kept = [x.clone() for x in sampled[count:]]  # of the passes before
        if sampled:
            at_once = at_once._replace(trunk=torch.stack(sampled[:count]))
        ids = (at_once.tokens, at_once.prompt_lengths, at_once.responses)
        with torch.no_grad():
            out = engine(*ids, 1.0, at_once.trunk, with_reference=True, keep_from=at_once.keep_from)
        with ledger.making(CACHED):
            return kept + ([] if out.trunk is None else [out.trunk[0].clone() for _ in range(count)])

    def update(kept: list[Tensor]) -> None:
        batch = collated(min(options.minibatch_size or options.batch_size, share))
        numbers = torch.ones_like(batch.mask)
        batch = batch._replace(logprobs=numbers, values=numbers, advantages=numbers, returns=numbers)
        if kept:
            batch = batch._replace(trunk=torch.stack(kept[: len(batch.tokens)]))
        policy.checkpoint_blocks(options.gradient_checkpointing)
        loss, _ = loss_of(engine, batch, method, 1.0, 1.0)
        engine.backward(loss)
        del loss
        ledger.name_what_stays("activations", "gradients")
        engine.step()
        policy.checkpoint_blocks(False)

    for kept in ([], None):  # the collection meets Adam's state
        kept = collect() if kept is None else kept
        for _ in range(deepspeed["gradient_accumulation_steps"]):
            update(kept)
    del kept
    with ledger.making("weights as written", HOST):  # Accelerate clones the whole policy's
        state = written(policy.state_dict(keep_vars=True).values())
    del state
