"""Reimplement the published stages 1 and 2 (CarperAI/trlx, examples/summarize_rlhf), the baseline of benchmarks.

Faithful to the work it does, including wasted work: every text is padded to 550 tokens; attention scores are built,
masked and normalised step by step as in GPT-J of transformers 4.2x; the position table is copied for each row. Its bugs
are kept only where fixing them would change the cost.
"""

from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import dropout, logsigmoid
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.gptj import modeling_gptj

from benchmarks.raw import FUSED, PUBLISHED

WIDTH = 550  # tokens that every text is padded to
EAGER, SDPA = "eager", "sdpa"  # attention as published, and torch's fused kernel
ATTENTION = {PUBLISHED: EAGER, FUSED: SDPA}  # by the side of a benchmark


def load_model(path: Path, attention: str = EAGER) -> PreTrainedModel:
    """Load a causal LM with eager attention; a GPT-J with the attention of the time of publication.

    `attention="sdpa"` selects torch's fused kernel instead: the published way on today's transformers.
    """
    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation=attention)
    if model.config.model_type == "gptj":
        modeling_gptj.eager_attention_forward = gptj_attention
        table = model.transformer.rotary_emb.embed_positions
        for block in model.transformer.h:
            block.attn.register_forward_pre_hook(
                lambda _, args, kwargs: (args, kwargs | {"position_embeddings": copied(table, kwargs["position_ids"])}),
                with_kwargs=True,
            )
    return model


def gptj_attention(module, query, key, value, attention_mask, scaling, **_unused):
    """Compute `GPTJAttention._attn` on heads (B, N, T, D): scores in fp32, two masks, softmax."""
    scores = torch.matmul(query.float(), key.float().transpose(-1, -2))  # (B, N, T, T)
    queries, keys = scores.shape[-2:]
    causal = torch.ones(keys, keys, dtype=torch.bool, device=scores.device).tril()[keys - queries :]
    scores = torch.where(causal, scores, torch.tensor(torch.finfo(scores.dtype).min)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = dropout(scores.softmax(-1).to(value.dtype), p=module.attention_dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def copied(table: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Gather sines and cosines at `positions` (B, T) from a full copy of `table` per row."""
    copies = table.repeat(positions.shape[0], 1, 1)
    return torch.gather(copies, 1, positions[..., None].repeat(1, 1, table.shape[-1])).chunk(2, dim=-1)


def padded(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[Tensor, Tensor]:
    """Return ids and attention mask of a text, padded to `WIDTH`."""
    encoded = tokenizer(text, truncation=True, max_length=WIDTH, padding="max_length", return_tensors="pt")
    return encoded.input_ids[0], encoded.attention_mask[0]


class TLDRDataset(torch.utils.data.Dataset):
    """Stage 1's rows: tokenized at each access, padding supervised."""

    def __init__(self, rows: Dataset, tokenizer: PreTrainedTokenizerFast):
        self.texts = [f"{row['prompt']} {row['label']}" for row in rows]
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        ids, mask = padded(self.tokenizer, self.texts[i])
        return {"input_ids": ids, "attention_mask": mask, "labels": ids}


class PairwiseDataset(torch.utils.data.Dataset):
    """Stage 2's pairs: two padded texts each."""

    def __init__(self, rows: Dataset, tokenizer: PreTrainedTokenizerFast):
        self.pairs = [
            [padded(tokenizer, rm_text(f"{row['prompt']}\n{row[side]}")) for side in ("chosen", "rejected")]
            for row in rows
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> list[tuple[Tensor, Tensor]]:
        return self.pairs[i]


def rm_text(text: str) -> str:
    return f"<|startoftext|>{text}<|endoftext|>"


def collate_pairs(pairs: list[list[tuple[Tensor, Tensor]]]) -> dict[str, Tensor]:
    """Stack all chosen texts, then all rejected ones: ids and masks (2B, T)."""
    texts = [pair[side] for side in (0, 1) for pair in pairs]
    return {"input_ids": torch.stack([ids for ids, _ in texts]), "attention_mask": torch.stack([m for _, m in texts])}


class GPTRewardModel(nn.Module):
    """Stage 2's model: both texts of each pair through all blocks, a loop over pairs for the loss."""

    def __init__(self, path: Path, pad_token_id: int, attention: str = EAGER):
        super().__init__()
        self.transformer = load_model(path, attention).base_model
        self.v_head = nn.Linear(self.transformer.config.n_embd, 1, bias=False)
        self.pad = pad_token_id

    def freeze(self, share: float = 0.7) -> None:
        """Freeze the lowest blocks; embeddings stay trainable, so the backward pass crosses all blocks."""
        layers = self.transformer.h
        for layer in layers[: -int((1 - share) * len(layers) + 1e-6)]:
            layer.requires_grad_(False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        values = self.v_head(self.transformer(input_ids, attention_mask=attention_mask)[0]).squeeze(-1)  # (2B, T)
        pairs, loss, scores = len(input_ids) // 2, 0.0, []
        for i in range(pairs):
            chosen, rejected = input_ids[i], input_ids[pairs + i]
            chosen_end, rejected_end = self.end(chosen), self.end(rejected)
            scores.append(values[i, chosen_end - 1])
            if torch.equal(chosen, rejected):  # as every text with itself, when PPO asks for scores
                continue
            start, end = (chosen != rejected).nonzero()[0].item(), max(chosen_end, rejected_end)
            loss = loss - logsigmoid(values[i, start:end] - values[pairs + i, start:end]).mean()
        return {"loss": loss / pairs, "chosen_end_scores": torch.stack(scores)}

    def end(self, ids: Tensor) -> int:
        """Return where the padding begins."""
        pads = (ids == self.pad).nonzero()
        return pads[0].item() if len(pads) else len(ids)
