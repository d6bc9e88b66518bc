"""The same mathematics for less: what is set on a model of ours, and for the whole process."""

import ctypes
import functools
import logging
import sys

import torch
from transformers import PreTrainedModel
from transformers.activations import GELUTanh, NewGELUActivation

from summarize_rlhf.lm.families import FAMILIES
from summarize_rlhf.lm.last_block import use_keep_from

CACHE_TOKENS = 3000  # of a forward pass whose activations stay in a CPU's cache; more at once is slower there
# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def tune_model(model: PreTrainedModel) -> PreTrainedModel:
    """Give this model the attention of last_block.py and a fused activation; returns it.

    The activation of GPT-2 and GPT-J runs as one operation, forward and backward, instead of eight. Results stay the
    same to rounding (1e-6 relative in fp32).
    """
    if model.config.model_type in FAMILIES or model._supports_attention_backend:  # transformers' own mark
        use_keep_from(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, GELUTanh().train(child.training))
    return model


@functools.cache
def tune_process() -> None:
    """Keep freed memory on a CPU, and hide a warning that does not apply. Call once, in a script's `main`."""
    # GPT-2 warns of padding without a mask. Rows are padded on the right here, where causal attention needs none.
    logging.getLogger("transformers.modeling_utils").addFilter(lambda record: "attention_mask" not in str(record.msg))
    if sys.platform == "linux" and not torch.cuda.is_available():
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Let new tensors reuse the memory of freed ones, which otherwise goes back to the system.

    By default glibc gives every large block back, and the system hands out its pages one fault at a time: writing to a
    fresh tensor costs four times as much as writing to one that was there. Nothing happens under another libc.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
