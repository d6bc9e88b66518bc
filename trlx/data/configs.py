"""The configuration of a run, as trlX has it: one dataclass per section and `TRLConfig` around them.

An unknown name is refused, with the nearest known one, wherever it comes from: a YAML file, a dictionary or a dotted
override.
"""

import copy
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from peft import PeftConfig
from transformers import PretrainedConfig

from summarize_rlhf.run.values import of_type
from trlx.data.options import REQUIRED, option
from trlx.data.scope import REPLACED, check_known
from trlx.models.modeling_ppo import PPOConfig


def known_only(cls, values: Mapping[str, Any]):
    """Build the dataclass `cls` from `values`.

    Raises ValueError for an unknown key, with the nearest known one, for a missing key, and for a value of another
    type.
    """
    names = [f.name for f in fields(cls)]
    for key in values:
        if key not in names and key in REPLACED:
            raise ValueError(f"{cls.__name__} has no option {key!r} since trlX 0.7: use {REPLACED[key]}.")
        if key not in names:
            raise ValueError(f"{cls.__name__} has no option {key!r}.{_did_you_mean(key, names)}")
    hints = typing.get_type_hints(cls)
    typed = {key: of_type(f"{cls.__name__}.{key}", value, hints[key]) for key, value in values.items()}
    try:
        return cls(**typed)
    except TypeError as error:  # Python's own message names the missing arguments
        raise ValueError(str(error)) from error


def _did_you_mean(key: Any, names) -> str:
    near = difflib.get_close_matches(str(key), list(names), n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(sorted(names))}."


@dataclass
class ModelConfig:
    """The policy."""

    model_path: Any = option(
        REQUIRED, "local directory or Hub id; in Python also a transformers config (random weights)"
    )
    model_arch_type: str = option("causal", "causal alone: encoder-decoder models are out of scope")
    num_layers_unfrozen: int = option(-1, "top blocks that train; -1: everything, 0: the value head alone", least=-1)
    peft_config: Any = option(None, "adapter (LoRA) as a dictionary for peft; null: none")
    model_extra_configs: dict[str, Any] = option(dict, "further keyword arguments of from_pretrained")


@dataclass
class TokenizerConfig:
    """The tokenizer."""

    tokenizer_path: str = option(REQUIRED, "local directory or Hub id")
    padding_side: str = option("left", "accepted as in trlX, without effect: masks come from lengths")
    truncation_side: str = option("right", "the end of a long prompt that is cut: right or left")
    tokenizer_extra_configs: dict[str, Any] = option(dict, "further keyword arguments of from_pretrained")


@dataclass
class OptimizerConfig:
    """The optimizer, over the parameters that train."""

    name: str = option(REQUIRED, "adam, adamw or sgd")
    kwargs: dict[str, Any] = option(dict, "arguments of the torch class: lr, betas, eps, weight_decay")


@dataclass
class SchedulerConfig:
    """The learning rate schedule, one step per optimizer step."""

    name: str = option(REQUIRED, "cosine_annealing, linear or constant")
    kwargs: dict[str, Any] = option(dict, "arguments of the torch class, in optimizer steps")


@dataclass
class TrainConfig:
    """The loop. Its steps are training batches."""

    total_steps: int = option(REQUIRED, "most training batches", least=1, may_change=True)
    seq_length: int = option(REQUIRED, "longest prompt and response together, in tokens", least=1)
    epochs: int = option(REQUIRED, "most rounds of collecting and optimising", least=1, may_change=True)
    batch_size: int = option(REQUIRED, "rollouts per device and training batch", least=1)

    checkpoint_interval: int = option(REQUIRED, "training batches between checkpoints", least=1, may_change=True)
    eval_interval: int = option(REQUIRED, "training batches between evaluations", least=1, may_change=True)

    pipeline: str = option("PromptPipeline", "PromptPipeline alone")
    trainer: str = option("AcceleratePPOTrainer", "AcceleratePPOTrainer alone")
    trainer_kwargs: dict[str, Any] = option(dict, "further keyword arguments of the trainer")

    project_name: str = option("trlx", "project at the tracker", may_change=True)
    run_name: str | None = option(None, "run at the tracker; null: ppo, in a group", may_change=True)
    entity_name: str | None = option(None, "entity at W&B", may_change=True)
    group_name: str | None = option(
        None, "group at W&B and Trackio; null: the run that wrote the model", may_change=True
    )

    checkpoint_dir: str = option("ckpts", "where checkpoints, metrics.jsonl and samples go", may_change=True)
    rollout_logging_dir: str | None = option(None, "where each rollout is written; null: nowhere", may_change=True)
    save_best: bool = option(True, "keep the policy with the best evaluated reward", may_change=True)
    save_optimizer: bool = option(True, "checkpoints hold the full state, to resume from", may_change=True)
    resume_from_checkpoint: str | None = option(
        None,
        'checkpoint to resume from; "auto": the newest intact one in checkpoint_dir, if any; "fresh": none, and those '
        "in checkpoint_dir are removed",
        may_change=True,
    )
    elastic: bool = option(
        False, "resume with another number of processes, too: statistically equal, not bit-equal", may_change=True
    )
    checkpoint_minutes: float | None = option(
        60.0, "minutes after which a checkpoint is due in any case; null: never", least=0, may_change=True
    )
    save_total_limit: int | None = option(3, "newest checkpoints kept; null: all", least=1, may_change=True)
    guards: dict[str, Any] = option(dict, "when to warn or to stop (trlx/trainer/guards.py)", may_change=True)

    tracker: str | None = option("wandb", "wandb, tensorboard, trackio or null", may_change=True)
    logging_dir: str | None = option(None, "where TensorBoard logs; null: checkpoint_dir", may_change=True)
    tags: list[str] = option(list, "tags at W&B", may_change=True)

    seed: int = option(1000, "seed of new weights, prompt order, samples and batches", least=0, below=2**32)
    precision: str = option(
        "auto", "compute in bf16, fp16 or fp32; auto: bf16 on a GPU that has it, fp16 on others, fp32 on a CPU"
    )
    minibatch_size: int | None = option(
        None,
        "rollouts that go through the model at once, per device; null: batch_size (memory and speed alone)",
        least=1,
        may_change=True,
    )
    max_grad_norm: float | None = option(None, "norm that gradients are clipped to; null: not clipped", above=0)
    gradient_checkpointing: bool = option(False, "recompute activations: less memory, more time", may_change=True)
    cuda_graphs: bool = option(
        False, "replay decode steps as CUDA graphs, on a GPU alone (speed alone)", may_change=True
    )
    reward_timeout: float | None = option(
        None, "seconds that a call of reward_fn or metric_fn may take; null: any", above=0, may_change=True
    )
    reward_on_all_ranks: bool = option(False, "score each rank's samples on that rank, not on rank 0", may_change=True)


@dataclass
class TRLConfig:
    """The configuration of a run. Build it in Python, from a YAML file (`load_yaml`) or a dictionary (`from_dict`)."""

    method: PPOConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    tokenizer: TokenizerConfig
    train: TrainConfig

    @classmethod
    def load_yaml(cls, path: str | Path) -> "TRLConfig":
        """Build the configuration from a YAML file. Raises what `from_dict` raises."""
        with open(path, encoding="utf-8") as file:
            return cls.from_dict(yaml.safe_load(file))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "TRLConfig":
        """Build the configuration from one dictionary per section. Raises ValueError for a missing or unknown name."""
        sections = typing.get_type_hints(cls)
        for key in config:
            if key not in sections:
                raise ValueError(f"TRLConfig has no section {key!r}.{_did_you_mean(key, sections)}")
        missing = sorted(sections.keys() - config.keys())
        if missing:
            raise ValueError(f"TRLConfig lacks the section {missing[0]!r}; it needs {', '.join(sorted(sections))}.")
        for name in sections:
            of_type(name, config[name], dict)
        check_known("method.name", config["method"].get("name"), ("PPOConfig",))
        return cls(**{name: known_only(section, config[name]) for name, section in sections.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return one dictionary per section. A transformers or peft configuration inside stays as it is."""
        return {f.name: _options(getattr(self, f.name)) for f in fields(self)}

    def evolve(self, **sections) -> "TRLConfig":
        """Copy with some values changed: `config.evolve(train=dict(batch_size=8), method=dict(gamma=0.99))`."""
        changed = self.from_dict(_merged(self.to_dict(), sections))
        for old, new in ((self, changed), *((getattr(self, f.name), getattr(changed, f.name)) for f in fields(self))):
            for name in vars(old).keys() - {f.name for f in fields(old)}:  # what a script has hung on it
                setattr(new, name, vars(old)[name])
        return changed

    @classmethod
    def update(cls, baseconfig: Mapping[str, Any], config: Mapping[str, Any]) -> "TRLConfig":
        """Return `baseconfig` with overrides, nested or dotted: `{"train.batch_size": 8}`.

        Raises ValueError for an override that names no option.
        """
        merged = baseconfig.to_dict() if isinstance(baseconfig, TRLConfig) else baseconfig
        for name, value in config.items():  # a later one over an earlier one
            *sections, last = name.split(".")
            held = merged
            for depth, section in enumerate(sections, 1):
                held = held.get(section)
                if held is None:
                    break  # an option that is off, or a name that `_merged` refuses
                if not isinstance(held, Mapping):
                    where = ".".join(sections[:depth])
                    raise ValueError(f"The override {name!r} is not possible: {where!r} is {held!r}, without options.")
            for section in (last, *reversed(sections)):
                value = {section: value}
            merged = _merged(merged, value)
        return cls.from_dict(merged)


def _options(section: Any) -> dict[str, Any]:
    return {f.name: copy.deepcopy(getattr(section, f.name)) for f in fields(section)}


def may_change_names() -> frozenset[str]:
    """Return the dotted names of the options that a resumed run may change."""
    sections = typing.get_type_hints(TRLConfig).items()
    return frozenset(
        f"{name}.{f.name}" for name, kind in sections for f in fields(kind) if f.metadata.get("may_change")
    )


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return `base` with `changes`. New keys are welcome below an option: there they are torch's, transformers' or
    peft's."""
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if key not in merged and "." not in path:
            where = f"{path}.{key}" if path else key
            if key in REPLACED:
                raise ValueError(f"The override {where!r} names no option since trlX 0.7: use {REPLACED[key]}.")
            raise ValueError(f"The override {where!r} names no option.{_did_you_mean(key, merged)}")
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merged(merged[key], value, f"{path}.{key}" if path else key)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def plain(value: Any) -> Any:
    """Return a configuration in JSON's types; a transformers or peft configuration becomes its dictionary."""
    if isinstance(value, PretrainedConfig):
        return plain(value.to_diff_dict())
    if isinstance(value, PeftConfig):
        return plain(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
