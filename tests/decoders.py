"""A tiny model of each family of decoders that can be cut into blocks."""

import torch
from tiny import gpt2_config, gptj_config
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GemmaConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from summarize_rlhf.lm.speed import tune_model

VOCABULARY = 48
LAYERS = 4
LLAMA_LIKE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
FAMILIES = {
    "gptj": lambda: gptj_config(VOCABULARY, layers=LAYERS),
    "gpt2": lambda: gpt2_config(VOCABULARY, layers=LAYERS),
    "gpt_neox": lambda: GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    ),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        word_embed_proj_dim=16,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=64,
        dropout=0.0,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "llama": lambda: LlamaConfig(**LLAMA_LIKE),
    "qwen2": lambda: Qwen2Config(**LLAMA_LIKE, use_sliding_window=True, sliding_window=4, max_window_layers=2),
    "qwen3": lambda: Qwen3Config(**LLAMA_LIKE),
    "mistral": lambda: MistralConfig(**LLAMA_LIKE, sliding_window=4),
    "gemma": lambda: GemmaConfig(**LLAMA_LIKE),
    "gemma2": lambda: Gemma2Config(**LLAMA_LIKE, sliding_window=4, final_logit_softcapping=2.0),
    "phi": lambda: PhiConfig(**{**LLAMA_LIKE, "num_key_value_heads": 4}, resid_pdrop=0.0),
}


def make_model(family: str, seed: int = 0) -> PreTrainedModel:
    """Random weights, with every norm, bias and so on moved away from its neutral start."""
    torch.manual_seed(seed)
    model = tune_model(AutoModelForCausalLM.from_config(FAMILIES[family]())).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model
