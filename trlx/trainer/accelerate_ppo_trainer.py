"""trlX's import path of the PPO trainer."""

from trlx.trainer.ppo import AcceleratePPOTrainer

__all__ = ["AcceleratePPOTrainer"]
