"""Features of trlX 0.7 that this engine does not have: a clear error wherever a configuration names one."""

ELSEWHERE = {
    "ilql": "ILQL is not part of this engine, which does PPO; trlX 0.7 has it.",
    "sft": "supervised fine-tuning is stage 1 of this repository: sft/train_gptj_summarize.py.",
    "rft": "rejection fine-tuning is not part of this engine; sample with trainer.generate, then run stage 1.",
    "nemo": "NeMo is not part of this engine; large models train with 'AcceleratePPOTrainer' under DeepSpeed ZeRO-3.",
    "seq2seq": "encoder-decoder models are not part of this engine; use a causal language model ('causal').",
}


def check_known(option: str, value: str | None, known: tuple[str, ...]) -> None:
    """Raise ValueError, and say what to use instead, unless `value` is one of `known` in upper or lower case."""
    name = str(value).lower()
    if name in (k.lower() for k in known):
        return
    for part, remedy in ELSEWHERE.items():
        if part in name:
            raise ValueError(f"{option} {value!r}: {remedy}")
    raise ValueError(f"{option} {value!r} is unknown; use {' or '.join(map(repr, known))}.")
