"""Features of trlX 0.7 that this engine does not have: a clear error wherever a configuration names one."""

from collections.abc import Callable
from typing import NoReturn

ELSEWHERE = {
    "ilql": "ILQL is not part of this engine, which does PPO; trlX 0.7 has it.",
    "sft": "supervised fine-tuning is stage 1 of this repository: sft/train_gptj_summarize.py.",
    "rft": "rejection fine-tuning is not part of this engine; sample with trainer.generate, then run stage 1.",
    "nemo": "NeMo is not part of this engine; large models train with 'AcceleratePPOTrainer' under DeepSpeed ZeRO-3.",
    "seq2seq": "encoder-decoder models are not part of this engine; use a causal language model ('causal').",
}


# Options of earlier versions of trlX, and what stands in their place since 0.7.
REPLACED = {
    "delta_method": "model.peft_config, such as {'peft_type': 'LORA', 'r': 8}",
    "delta_kwargs": "model.peft_config, such as {'peft_type': 'LORA', 'r': 8}",
    "model_type": "train.trainer",
    "orchestrator": "nothing: the trainer collects its rollouts itself",
    "lr_ramp_steps": "scheduler",
    "lr_decay_steps": "scheduler",
    "learning_rate_init": "optimizer.kwargs.lr",
    "learning_rate_target": "scheduler.kwargs.eta_min",
    "opt_betas": "optimizer.kwargs.betas",
    "opt_eps": "optimizer.kwargs.eps",
    "weight_decay": "optimizer.kwargs.weight_decay",
    "input_size": "train.seq_length",
    "gen_size": "method.gen_kwargs.max_new_tokens",
}


def missing(module: str, feature: str) -> Callable[[str], NoReturn]:
    """Return a module's `__getattr__` for a module of trlX that this engine does not have."""

    def refuse(name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"{module}.{name}: {ELSEWHERE[feature]}")

    return refuse


def check_known(option: str, value: str | None, known: tuple[str, ...]) -> None:
    """Raise ValueError, and say what to use instead, unless `value` is one of `known` in upper or lower case."""
    name = str(value).lower()
    if name in (k.lower() for k in known):
        return
    for part, remedy in ELSEWHERE.items():
        if part in name:
            raise ValueError(f"{option} {value!r}: {remedy}")
    raise ValueError(f"{option} {value!r} is unknown; use {' or '.join(map(repr, known))}.")
