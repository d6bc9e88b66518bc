"""The trainer of PPO, and where a script registers one of its own."""

from trlx.registry import register_trainer

__all__ = ["register_trainer"]


def __getattr__(name: str):
    """Say what to subclass instead of trlX's abstract trainer, which this engine does not have."""
    if name == "BaseRLTrainer":
        raise ImportError(
            "trlx.trainer.BaseRLTrainer: subclass trlx.trainer.accelerate_ppo_trainer.AcceleratePPOTrainer"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
