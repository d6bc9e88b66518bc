"""The configuration of a run, in trlX's shape: one dataclass per concern and `TRLConfig` around them.

Unknown names are refused, with the nearest known one, wherever they come from: a YAML file, a dictionary or
a dotted override.
"""

import copy
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from peft import PeftConfig
from transformers import PretrainedConfig

from summarize_rlhf.run.values import of_type
from trlx.data.method_configs import MethodConfig, get_method


def known_only(cls, values: Mapping[str, Any]):
    """Builds the dataclass `cls` from `values`. Raises ValueError for an unknown key, with its nearest, for one that
    is missing, and for a value of another type."""
    names = [f.name for f in fields(cls)]
    for key in values:
        if key not in names:
            raise ValueError(f"{cls.__name__} has no option {key!r}.{_did_you_mean(key, names)}")
    hints = typing.get_type_hints(cls)
    typed = {key: of_type(f"{cls.__name__}.{key}", value, hints[key]) for key, value in values.items()}
    try:
        return cls(**typed)
    except TypeError as error:  # which Python words well: the names of the missing arguments
        raise ValueError(str(error)) from error


def _did_you_mean(key: Any, names) -> str:
    near = difflib.get_close_matches(str(key), list(names), n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(sorted(names))}."


@dataclass
class ModelConfig:
    """The policy.

    model_path: a local directory, a Hub id, or a transformers config (random weights).
    num_layers_unfrozen: how many of the top blocks train; -1 trains everything, 0 only the value head.
    peft_config: a peft configuration as a dictionary (LoRA), or None.
    model_extra_configs: further keyword arguments of `from_pretrained`.
    """

    model_path: Any
    model_arch_type: str = "causal"
    num_layers_unfrozen: int = -1
    peft_config: Any = None
    model_extra_configs: dict[str, Any] = field(default_factory=dict)


@dataclass
class TokenizerConfig:
    """The tokenizer: a local directory or Hub id; `truncation_side` says which end of a long prompt is cut."""

    tokenizer_path: str
    padding_side: str = "left"
    truncation_side: str = "right"
    tokenizer_extra_configs: dict[str, Any] = field(default_factory=dict)


@dataclass
class OptimizerConfig:
    """`name`: adam, adamw or sgd; `kwargs`: those of the torch class (lr, betas, eps, weight_decay)."""

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class SchedulerConfig:
    """`name`: cosine_annealing, linear or constant; `kwargs`: those of the torch class. Steps are optimizer steps."""

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class TrainConfig:
    """The loop.

    total_steps: at most so many training batches. epochs: at most so many rounds of collecting and optimising.
    seq_length: prompt and response together, in tokens.
    batch_size: rollouts per device and training batch. minibatch_size: how many of them go through the model at
    once (memory only; the gradient is the same). max_grad_norm: clip the gradient's norm, None does not.
    eval_interval, checkpoint_interval: in training batches. checkpoint_minutes: between checkpoints, besides; None:
    none. save_total_limit: checkpoints kept, the newest; None: all.
    checkpoint_dir: where checkpoints, metrics.jsonl and samples go. rollout_logging_dir: where each rollout goes.
    save_best: keep the policy with the best evaluated reward. save_optimizer: checkpoints hold the full state.
    resume_from_checkpoint: such a checkpoint's directory, to go on from; "auto": the newest whole one in
    checkpoint_dir, if there is one; "fresh": none, and those in checkpoint_dir are removed.
    guards: when to warn or to stop (trlx/trainer/guards.py).
    tracker: "wandb", "tensorboard" or None. reward_on_all_ranks: score each rank's own samples there.
    """

    total_steps: int
    seq_length: int
    epochs: int
    batch_size: int

    checkpoint_interval: int
    eval_interval: int

    pipeline: str = "PromptPipeline"
    trainer: str = "AcceleratePPOTrainer"
    trainer_kwargs: dict[str, Any] = field(default_factory=dict)

    project_name: str = "trlx"
    run_name: str | None = None
    entity_name: str | None = None
    group_name: str | None = None

    checkpoint_dir: str = "ckpts"
    rollout_logging_dir: str | None = None
    save_best: bool = True
    save_optimizer: bool = True
    resume_from_checkpoint: str | None = None
    checkpoint_minutes: float | None = 60.0
    save_total_limit: int | None = 3
    guards: dict[str, Any] = field(default_factory=dict)

    tracker: str | None = "wandb"
    logging_dir: str | None = None
    tags: list[str] = field(default_factory=list)

    seed: int = 1000
    minibatch_size: int | None = None
    max_grad_norm: float | None = None
    gradient_checkpointing: bool = False
    reward_on_all_ranks: bool = False


@dataclass
class TRLConfig:
    """A whole run. Build it in Python, from a YAML file (`load_yaml`) or from a dictionary (`from_dict`)."""

    method: MethodConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    tokenizer: TokenizerConfig
    train: TrainConfig

    @classmethod
    def load_yaml(cls, path: str | Path) -> "TRLConfig":
        with open(path, encoding="utf-8") as file:
            return cls.from_dict(yaml.safe_load(file))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "TRLConfig":
        """From nested dictionaries, one per field. Raises ValueError that names what is missing or unknown."""
        sections = {f.name for f in fields(cls)}
        for key in config:
            if key not in sections:
                raise ValueError(f"TRLConfig has no section {key!r}.{_did_you_mean(key, sections)}")
        missing = sorted(sections - set(config))
        if missing:
            raise ValueError(f"TRLConfig lacks the section {missing[0]!r}; it needs {', '.join(sorted(sections))}.")
        for name in sections:
            of_type(name, config[name], dict)
        classes = {
            "method": get_method(config["method"].get("name")),
            "model": ModelConfig,
            "optimizer": OptimizerConfig,
            "scheduler": SchedulerConfig,
            "tokenizer": TokenizerConfig,
            "train": TrainConfig,
        }
        return cls(**{name: known_only(section, config[name]) for name, section in classes.items()})

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries, one per section. A transformers or peft configuration inside stays one."""
        return {f.name: copy.deepcopy(vars(getattr(self, f.name))) for f in fields(self)}

    def evolve(self, **sections) -> "TRLConfig":
        """A copy with some values changed: `config.evolve(train=dict(batch_size=8), method=dict(gamma=0.99))`."""
        return self.from_dict(_merged(self.to_dict(), sections))

    @classmethod
    def update(cls, baseconfig: Mapping[str, Any], config: Mapping[str, Any]) -> "TRLConfig":
        """`baseconfig` with overrides, nested or dotted: `{"train.batch_size": 8}`. Raises ValueError on a typo."""
        base = baseconfig.to_dict() if isinstance(baseconfig, TRLConfig) else baseconfig
        nested: dict[str, Any] = {}
        for name, value in config.items():
            *parents, last = name.split(".")
            node = nested
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
        return cls.from_dict(_merged(base, nested))


# Free-form dictionaries: new keys are welcome there, they belong to torch, transformers or peft.
_OPEN = {"kwargs", "gen_kwargs", "gen_experience_kwargs", "model_extra_configs", "tokenizer_extra_configs"}
_OPEN |= {"trainer_kwargs", "peft_config", "guards"}


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if key not in merged and path.rsplit(".", 1)[-1] not in _OPEN:
            where = f"{path}.{key}" if path else key
            raise ValueError(f"The override {where!r} names no option.{_did_you_mean(key, merged)}")
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merged(merged[key], value, f"{path}.{key}" if path else key)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def plain(value: Any) -> Any:
    """A configuration as JSON can hold it; a transformers or peft configuration becomes its dictionary."""
    if isinstance(value, PretrainedConfig):
        return plain(value.to_diff_dict())
    if isinstance(value, PeftConfig):
        return plain(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
