"""Tiny reward models of every family that is packed, and pairs of every shape."""

import torch
from tiny import gpt2_config, gptj_config
from transformers import (
    AutoModel,
    GemmaConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

from reward_model.encoding import first_difference
from reward_model.pairs import PackedPairs
from reward_model.reward_model import RewardModel
from summarize_rlhf.lm.speed import tune_model

V, LONGEST = 400, 24
SMALL = {"vocab_size": V, "hidden_size": 32, "num_attention_heads": 2, "max_position_embeddings": LONGEST}
DEEP = {"num_hidden_layers": 3, "intermediate_size": 64}
CONFIGS = {
    "gptj": gptj_config(V, 3, positions=LONGEST),
    "gpt2": gpt2_config(V, 3, positions=LONGEST),
    "gpt_neox": GPTNeoXConfig(**SMALL, **DEEP),
    "llama": LlamaConfig(**SMALL, **DEEP, num_key_value_heads=1),
    "opt": OPTConfig(**SMALL, num_hidden_layers=3, ffn_dim=64, word_embed_proj_dim=32, dropout=0.0),
    "gemma": GemmaConfig(**SMALL, **DEEP, num_key_value_heads=1, head_dim=16),
    "phi": PhiConfig(**SMALL, **DEEP),
    "qwen2": Qwen2Config(**SMALL, **DEEP, num_key_value_heads=1),
    "qwen3": Qwen3Config(**SMALL, **DEEP, num_key_value_heads=1, head_dim=16),
    "mistral": MistralConfig(**SMALL, **DEEP, num_key_value_heads=1, sliding_window=None),
}


def make_model(kind: str) -> RewardModel:
    """A reward model whose weights are large enough for attention to matter, in fp32."""
    torch.manual_seed(0)
    model = RewardModel(tune_model(AutoModel.from_config(CONFIGS[kind])))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def pair(chosen: list[int], rejected: list[int]) -> dict:
    return {"chosen_ids": chosen, "rejected_ids": rejected, "start": first_difference(chosen, rejected)}


def make_pairs() -> list[dict]:
    """Random pairs and the special ones: a prefix of the other, nothing shared, equal, longest, one token."""
    generator = torch.Generator().manual_seed(0)

    def text(length: int) -> list[int]:
        return torch.randint(0, V, (length,), generator=generator).tolist()

    pairs = []
    for shared, chosen, rejected in ((8, 4, 6), (3, 9, 2), (9, 0, 5), (9, 5, 0), (0, 6, 4), (7, 0, 0), (0, 1, 1)):
        post = text(shared)
        pairs.append(pair(post + text(chosen), post + text(rejected)))
    post = text(2)
    return [*pairs, pair(post + text(LONGEST - 2), post + text(LONGEST - 2))]  # a row longer than any text may be


def with_long_posts() -> list[dict]:
    """Those of the pairs that share at least seven tokens: the last block is spared what precedes the seventh."""
    pairs = [one for one in make_pairs() if one["start"] >= 7]
    assert PackedPairs(0)(pairs)["keep_from"] == 6
    return pairs


def close(actual: torch.Tensor, expected: torch.Tensor, name: str = "") -> None:
    """Equal to 1e-5 of the largest number."""
    error = (actual - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
    assert error < 1e-5, f"{name}: relative error {error:.1e}"
