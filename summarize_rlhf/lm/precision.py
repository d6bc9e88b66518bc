"""The precision that this machine computes in, and what is computed in fp32 whatever that is."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


def precision() -> dict[str, bool]:
    """bf16 where the GPU has it, else fp16; on CPU neither, which is fp32. As arguments of TrainingArguments."""
    if not torch.cuda.is_available():
        return {"bf16": False, "fp16": False}
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return {"bf16": bf16, "fp16": not bf16}


def dtype() -> str:
    """The precision by the name that DeepSpeed has for it."""
    kind = precision()
    return "bf16" if kind["bf16"] else "fp16" if kind["fp16"] else "fp32"


class Fp32Linear(nn.Linear):
    """A linear layer that computes in fp32: under autocast, on states of another precision, and with weights that
    DeepSpeed has cast. A value read in bf16 has a step of 1/128 of itself."""

    def forward(self, states: Tensor) -> Tensor:
        with torch.autocast(states.device.type, enabled=False):
            return linear(states.float(), self.weight.float(), None if self.bias is None else self.bias.float())
