"""Rejection fine-tuning is not part of this engine: whatever is imported from here says so."""

from trlx.data.scope import missing

__getattr__ = missing(__name__, "rft")
