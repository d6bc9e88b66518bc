"""PPO for causal language models, with the interface of trlX 0.7."""

__version__ = "0.8.0"
__all__ = ["train"]


def __getattr__(name: str):
    """`trlx.train` is imported when it is used: stages that need only a model need not load the engine."""
    if name == "train":
        from trlx.trlx import train

        return train
    raise AttributeError(f"module 'trlx' has no attribute {name!r}")
