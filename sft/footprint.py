"""Memory of stage 1: its step on fake tensors (summarize_rlhf/lm/footprint.py), at the longest rows there may be."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from sft.loss import SupervisedLM
from summarize_rlhf.lm.footprint import HOST, Ledger, cast, fake_model, train, written
from summarize_rlhf.lm.lora import LoraArguments, add_lora
from summarize_rlhf.run.zero3 import gathered_model


def run(
    config: PretrainedConfig,
    dtype: torch.dtype,
    deepspeed: dict[str, Any],
    ledger: Ledger,
    batch: int,
    tokens: int,
    checkpointing: bool,
    lora: LoraArguments,
) -> None:
    """Load as `main` does, and train on micro-batches of `batch` rows of `tokens` tokens, each of them supervised.

    The best model is written as a copy in main memory, while DeepSpeed's engine is there.
    """
    with ledger.making("weights as loaded, fp32", HOST):
        model = fake_model(AutoModelForCausalLM.from_config, config)
        if lora.lora_r:
            add_lora(model, lora, 0, "base")
    with ledger.making("weights"):
        supervised = cast(SupervisedLM(model).train(), dtype)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    ids = torch.ones(batch, tokens, dtype=torch.long)
    engine = train(supervised, lambda engine: engine(input_ids=ids, labels=ids)["loss"], deepspeed, ledger)
    with ledger.making("weights as written", HOST):
        kept = written(x for x in model.parameters() if x.requires_grad)
        whole = fake_model(AutoModelForCausalLM.from_config, config) if lora.merge_adapter else None
    del kept, whole
    with gathered_model(engine):  # for summaries: of what ZeRO-3 has partitioned everything
        pass
    del engine
