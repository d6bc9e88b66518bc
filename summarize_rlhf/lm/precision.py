"""The precision that a device computes in, and the layer that computes in fp32 in any case."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


def dtype_for(device: torch.device | str | None = None) -> torch.dtype:
    """Return bf16 on a GPU that has it, fp16 on any other GPU, fp32 on a CPU. Default: this machine's GPU, if any."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if torch.device(device).type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


class Fp32Linear(nn.Linear):
    """A linear layer that computes in fp32 under autocast, on half-precision states, and with weights that DeepSpeed
    has cast. (bf16 resolves a value to 1/128 of itself.)"""

    def forward(self, states: Tensor) -> Tensor:
        with torch.autocast(states.device.type, enabled=False):
            return linear(states.float(), self.weight.float(), None if self.bias is None else self.bias.float())
