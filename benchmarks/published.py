"""The published way (CarperAI/trlx, examples/summarize_rlhf, GPT-J of transformers 4.2x), the baseline of benchmarks.

Written anew, faithful to what it computes and to what it wastes: every text padded to 550 tokens, attention whose score
matrix is built, masked and softened step by step, the table of positions repeated for each row. Its faults of
correctness do not matter to its cost; they are kept only where removing them would change the work.
"""

from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.gptj import modeling_gptj

WIDTH = 550  # tokens that every text is padded to


def load_model(path: Path) -> PreTrainedModel:
    """A causal LM with eager attention; a GPT-J also with the attention that it had when the example was published."""
    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")
    if model.config.model_type == "gptj":
        modeling_gptj.eager_attention_forward = gptj_attention
        table = model.transformer.rotary_emb.embed_positions
        for block in model.transformer.h:
            block.attn.register_forward_pre_hook(
                lambda _, args, kwargs: repeat_positions(table, args, kwargs), with_kwargs=True
            )
    return model


def gptj_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **_unused):
    """`GPTJAttention._attn`: scores in fp32, two masks, softmax; (B, T, N, D)."""
    scores = torch.matmul(query.float(), key.float().transpose(-1, -2))  # (B, N, T, T)
    queries, keys = scores.shape[-2:]
    causal = torch.ones(keys, keys, dtype=torch.bool, device=scores.device).tril()[keys - queries :]
    scores = torch.where(causal, scores, torch.tensor(torch.finfo(scores.dtype).min)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.nn.functional.dropout(scores.softmax(-1).to(value.dtype), p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def repeat_positions(table: Tensor, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Sines and cosines gathered from a copy of the whole table per row, in every layer."""
    positions = kwargs["position_ids"]  # (B, T)
    copies = table.repeat(positions.shape[0], 1, 1)
    found = torch.gather(copies, 1, positions[..., None].repeat(1, 1, table.shape[-1]))
    return args, kwargs | {"position_embeddings": found.chunk(2, dim=-1)}


class TLDRDataset(torch.utils.data.Dataset):
    """Stage 1's rows: tokenized at each access, padded to 550, padding supervised."""

    def __init__(self, rows: Dataset, tokenizer: PreTrainedTokenizerFast):
        self.texts = [f"{row['prompt']} {row['label']}" for row in rows]
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        encoded = self.tokenizer(self.texts[i], truncation=True, max_length=WIDTH, padding="max_length")
        ids = torch.tensor(encoded["input_ids"])
        return {"input_ids": ids, "attention_mask": torch.tensor(encoded["attention_mask"]), "labels": ids}
