"""Plans of a small GPT-J, and how many weights it has."""

import torch
from tiny import gptj_config
from transformers import AutoModelForCausalLM

from summarize_rlhf.plan import measuring, setups
from summarize_rlhf.plan.__main__ import PlanArguments, setup_of

SETUP = setup_of(PlanArguments(max_length=40, batch=2), "sft", "1x24")
ON_CPU = setup_of(PlanArguments(max_length=40, batch=2, gradient_checkpointing=True), "sft", "1xcpu")


def measured(planned: list[setups.Setup], layers: int = 4, dropout: float = 0.0) -> list[dict]:
    """The peaks on each GPU and of main memory of a small GPT-J."""
    measuring.prepare()
    config = gptj_config(400, layers=layers, width=64)
    config.resid_pdrop = dropout
    measure = measuring.Measured(config)
    found = [measure(setup) for setup in planned]
    return [{"gpu": x.gpu.kinds, "host": x.host.kinds} for x in found]


with torch.device("meta"):
    MODEL = AutoModelForCausalLM.from_config(gptj_config(400, layers=4, width=64))
WEIGHTS = sum(p.numel() for p in MODEL.parameters())
VALUE_HEAD = 64 * 128 + 128 + 128 + 1
