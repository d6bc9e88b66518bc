"""The register of methods: here PPO alone, and one clear word about each of trlX's others."""

from dataclasses import dataclass

_METHODS: dict[str, type] = {}

ELSEWHERE = {
    "ilqlconfig": "ILQL is not part of this engine; use trlX 0.7 for it.",
    "sftconfig": "Supervised fine-tuning is stage 1 of the example: sft/train_gptj_summarize.py.",
    "rftconfig": "Rejection fine-tuning is not part of this engine; sample with trainer.generate, then run stage 1.",
}


@dataclass
class MethodConfig:
    """What every method has: its name in the register."""

    name: str


def register_method(cls: type) -> type:
    """Class decorator: makes `cls` known by its name, in any case."""
    _METHODS[cls.__name__.lower()] = cls
    return cls


def get_method(name: str | None) -> type[MethodConfig]:
    """The configuration class called `name`. Raises ValueError that says what to use instead."""
    key = str(name).lower()
    if key in ELSEWHERE:
        raise ValueError(f"method.name {name!r}: {ELSEWHERE[key]}")
    if key not in _METHODS:
        raise ValueError(f"method.name {name!r} is unknown; use 'PPOConfig'.")
    return _METHODS[key]
