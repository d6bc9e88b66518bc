"""Scaled-dot-product attention for GPT-J, which transformers ships with eager attention only.

Importing this module registers the class below as GPT-J's "sdpa" implementation, so that
`from_pretrained` and `from_config` pick it like they do for every newer family. The weights, their names
and the mathematics stay those of `GPTJAttention`; two wastes go:

- the (T, T) score matrix is not built: torch picks a fused kernel, which also keeps the softmax in fp32;
- sines and cosines are looked up by position instead of repeating the whole position table per batch row.

Shapes: B batch, T query tokens, N heads, D head size, P rotated part of the head.
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.gptj import modeling_gptj


def rotate(x: torch.Tensor, sin: torch.Tensor, cos: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of interleaved pairs (Su et al. 2021, eq. 34): x (B, T, N, P); sin, cos (1 or B, T, P/2)."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)  # (B, T, N, P/2) each
    sin, cos = sin[:, :, None, :], cos[:, :, None, :]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)


class GPTJSdpaAttention(modeling_gptj.GPTJAttention):
    """`GPTJAttention` with torch's fused attention. Returns no attention weights: the second output is None."""

    def forward(self, hidden_states, layer_past=None, attention_mask=None, position_ids=None, **_unused):
        heads = (self.num_attention_heads, self.head_dim)
        query = self.q_proj(hidden_states).unflatten(-1, heads)  # (B, T, N, D)
        key = self.k_proj(hidden_states).unflatten(-1, heads)
        value = self.v_proj(hidden_states).unflatten(-1, heads)

        sin, cos = self.embed_positions[position_ids].to(query.dtype).chunk(2, dim=-1)  # (1 or B, T, P/2)
        split = (self.rotary_dim, self.head_dim - self.rotary_dim)
        query, key = (
            torch.cat((rotate(rotary, sin, cos), rest), dim=-1)
            for rotary, rest in (query.split(split, dim=-1), key.split(split, dim=-1))
        )

        query, key, value = (x.transpose(1, 2) for x in (query, key, value))  # (B, N, T, D)
        if layer_past is not None:
            key, value = layer_past.update(key, value, self.layer_idx)
        output = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=attention_mask,
            dropout_p=self.attn_dropout.p if self.training else 0.0,
            is_causal=attention_mask is None and query.shape[2] > 1,
        )
        output = self.out_proj(output.transpose(1, 2).flatten(-2))  # (B, T, H)
        return self.resid_dropout(output), None


modeling_gptj.GPTJ_ATTENTION_CLASSES["sdpa"] = GPTJSdpaAttention
modeling_gptj.GPTJPreTrainedModel._supports_sdpa = True
