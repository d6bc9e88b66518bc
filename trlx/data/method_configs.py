"""The base class of methods, under the import path that trlX gives it. PPOConfig is the only method."""

from dataclasses import dataclass


@dataclass
class MethodConfig:
    """What every method has: its name."""

    name: str
