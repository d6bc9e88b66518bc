"""PPO for causal language models, with the interface of trlX 0.7."""

from trlx.trlx import train
from trlx.utils import logging

__version__ = "0.8.0"
__all__ = ["logging", "train"]
