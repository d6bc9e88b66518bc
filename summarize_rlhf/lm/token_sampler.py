"""Draw tokens from logits by numbers that are given, in operations that never make the CPU wait for a GPU."""

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, TopKLogitsWarper, TopPLogitsWarper

from summarize_rlhf.lm.end_of_response import end_ids


class Sampler:
    """Draw tokens from logits with temperature, top-k and top-p; without `do_sample` take the likeliest."""

    def __init__(self, config: GenerationConfig, device: torch.device | str = "cpu"):
        self.temperature = 1.0 if config.temperature is None else config.temperature
        self.sampled = config.do_sample and self.temperature > 0
        self.ends = torch.tensor(end_ids(config), device=device)
        self.least = config.min_new_tokens or 0
        self.warpers = LogitsProcessorList()
        if self.sampled and config.top_k:
            self.warpers.append(TopKLogitsWarper(config.top_k))
        if self.sampled and config.top_p is not None and config.top_p < 1:
            self.warpers.append(TopPLogitsWarper(config.top_p))

    def __call__(self, logits: Tensor, uniforms: Tensor, step: Tensor) -> Tensor:
        """Return for logits (B, V) and `uniforms` (B) the first token (B) whose cumulative probability exceeds them.

        `step` (1) counts the tokens drawn before.
        """
        logits = logits.float()
        if self.least:
            logits = torch.where(step < self.least, logits.index_fill(1, self.ends, -torch.inf), logits)
        if not self.sampled:
            return logits.argmax(-1)
        logits = self.warpers(None, logits / self.temperature)
        cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
        # Below the total by more than its rounding, else a token of probability zero could be found.
        wanted = uniforms[:, None] * cumulative[:, -1:] * (1 - 1e-12)
        return torch.searchsorted(cumulative, wanted, right=True).squeeze(1)
