"""The precision that a device computes in, and the layer that computes in fp32 in any case."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from summarize_rlhf import UserError
from summarize_rlhf.run.deepspeed_config import NAMES

DTYPES = {name: dtype for dtype, name in NAMES.items()}
PRECISIONS = ["auto", "bf16", "fp16", "fp32"]


def dtype_for(device: torch.device | str | None = None, precision: str = "auto") -> torch.dtype:
    """Return what to compute in on a device: `precision`, one of `PRECISIONS`. Default: this machine's GPU, if any.

    "auto" is bf16 on a GPU that has it, fp16 on any other GPU, fp32 on a CPU. Raises `UserError` for bf16 on a GPU that
    would only emulate it.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu = torch.device(device).type == "cuda"
    has_bf16 = not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise UserError("precision is bf16, but this GPU has none (Ampere and later have): take auto, fp16 or fp32")
    if precision != "auto":
        return DTYPES[precision]
    if not on_gpu:
        return torch.float32
    return torch.bfloat16 if has_bf16 else torch.float16


def training_dtype(precision: str = "auto") -> torch.dtype:
    """Return what to train in on this machine, as `dtype_for` does. Raises `UserError` for fp16 on a CPU, too.

    There Accelerate would train in fp32 without a word, and DeepSpeed refuse or not by the kind of CPU. Models that are
    not trained run in fp16 on any CPU.
    """
    dtype = dtype_for(None, precision)
    if dtype == torch.float16 and not torch.cuda.is_available():
        raise UserError("precision is fp16, in which no CPU trains (its loss scaler wants a GPU): take bf16 or fp32")
    return dtype


class Fp32Linear(nn.Linear):
    """A linear layer that computes in fp32 under autocast, on half-precision states, and with weights that DeepSpeed
    has cast. (bf16 resolves a value to 1/128 of itself.)"""

    def forward(self, states: Tensor) -> Tensor:
        with torch.autocast(states.device.type, enabled=False):
            return linear(states.float(), self.weight.float(), None if self.bias is None else self.bias.float())
