"""Prompts and rollouts, and where a script registers a pipeline of its own."""

from trlx.pipeline.offline_pipeline import PromptPipeline
from trlx.registry import register_datapipeline

BasePipeline = PromptPipeline  # what others are made from
__all__ = ["BasePipeline", "register_datapipeline"]
