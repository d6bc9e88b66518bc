"""The same mathematics for less: settings of libraries that no model and no recipe needs to know of."""

import ctypes
import functools
import logging
import sys

import torch
from transformers.activations import ACT2FN, GELUTanh

CACHE_TOKENS = 3000  # of a forward pass whose activations stay in a CPU's cache; more at once is slower there
# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@functools.cache
def tune() -> None:
    """Call before a model is made. Results stay the same to rounding (1e-6 relative in fp32).

    GPT-2's and GPT-J's activation runs as one fused operation, forward and backward, instead of eight; on a CPU freed
    memory is kept.
    """
    ACT2FN["gelu_new"] = GELUTanh
    # GPT-2 warns of padding without a mask. Rows are padded on the right here, where causal attention needs none.
    logging.getLogger("transformers.modeling_utils").addFilter(lambda record: "attention_mask" not in str(record.msg))
    if sys.platform == "linux" and not torch.cuda.is_available():
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Tensors that are freed leave their memory to the next ones, instead of to the system.

    By default glibc gives every large block back, and the system hands out its pages one fault at a time: writing to a
    fresh tensor costs four times as much as writing to one that was there. Nothing happens under another libc.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
