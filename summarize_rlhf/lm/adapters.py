"""Adapters (LoRA) saved apart from their base model: find it, check that they fit, merge them into it."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from transformers import PreTrainedModel

from summarize_rlhf import UserError
from summarize_rlhf.handover import RUN_FILE
from summarize_rlhf.reading import reading

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PIECES, PIECE = 64, 4096  # of each weight file, evenly spaced; bytes


def is_adapter(directory: str | Path) -> bool:
    """Whether a directory has an adapter, whose config names the model that it belongs to."""
    return (Path(directory) / CONFIG).is_file()


def load_adapter(
    path: str | Path, load_model: Callable[..., PreTrainedModel], state_of: Callable[[Path], dict[str, torch.Tensor]]
) -> PreTrainedModel:
    """Load the base model of the adapter in `path` by `load_model`, in fp32, and merge the adapter into it.

    Raises `UserError` where the base model is not to be found or is another one than the adapter was trained on, for
    keys that do not fit, and for adapters that are no part of the weights (soft prompts).
    """
    path = Path(path)
    config, file = read_config(path), next((path / name for name in WEIGHTS if (path / name).is_file()), None)
    if file is None:
        raise UserError(f"{path} has an {CONFIG}, but no weights beside it ({' or '.join(WEIGHTS)}): copy it again")
    if config.is_prompt_learning:
        raise UserError(f"{path} holds a soft prompt ({config.peft_type.value}), which cannot be merged into a model")
    find_bottom(path)  # which raises where adapters lie on each other in a circle
    model = load_model(find_base(path))
    config.base_model_name_or_path = model.name_or_path  # where it is now, else peft warns
    with reading(path, "adapter", "does it fit its model?"):  # modules that the model does not have, other shapes
        adapted = wrapped(model, config)
        found = peft.set_peft_model_state_dict(adapted, state_of(file))
    missing = [name for name in found.missing_keys if PEFT_TYPE_TO_PREFIX_MAPPING[config.peft_type] in name]
    if missing or found.unexpected_keys:
        raise UserError(
            f"the adapter {path} does not fit its model; missing: {missing[:5]}, not part of it: "
            f"{found.unexpected_keys[:5]}"
        )
    with reading(path, "adapter", "it cannot be merged into its model"):
        merged = adapted.merge_and_unload()
    if not all(parameter.isfinite().all() for parameter in merged.parameters()):
        raise UserError(
            f"with the adapter {path} merged into it, its model has weights that are no finite numbers: {CONFIG} was "
            "edited (lora_alpha, r), or the training diverged. Copy or train it again"
        )
    merged.config._name_or_path = merged.name_or_path = str(path)  # no longer the base, which messages would name
    return merged


def wrapped(model: PreTrainedModel, config: peft.PeftConfig, **options: bool) -> peft.PeftModel:
    """Put an adapter into `model`; peft asks it a question for which transformers has a new name, and warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        return peft.get_peft_model(model, config, **options)


def read_config(path: Path) -> peft.PeftConfig:
    with reading(path / CONFIG, "adapter's config", "copy it again"):
        config = peft.PeftConfig.from_pretrained(str(path))
        if not isinstance(config.base_model_name_or_path, str | None):
            raise TypeError("base_model_name_or_path should be text")
        Path(config.base_model_name_or_path or "").exists()  # raises for a name that no path can have
        return config


def find_base(path: str | Path) -> str:
    """Find the base model of the adapter in `path`: a directory or a Hub id.

    Our `run.json` knows the base's weights by their digest. So a base that was trained anew since is refused, and one
    that was moved together with the adapter is found: under a folder above it, by the end of its old path.
    """
    path = Path(path).absolute()
    name, digest = read_config(path).base_model_name_or_path, _recorded_digest(path)
    if not name:
        raise UserError(f"{path / CONFIG} does not name the base model: set base_model_name_or_path in it")
    if Path(name).exists() and digest in (None, weights_digest(name)):
        return str(name)
    for candidate in _moved(name, path) if digest else ():
        if weights_digest(candidate) == digest:
            return str(candidate)
    if Path(name).exists():
        raise UserError(
            f"the adapter {path} was trained on other weights than {name} holds now: it would be another model. Put "
            f"the base model's directory back, and set base_model_name_or_path in {CONFIG} if it lies elsewhere"
        )
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise UserError(
            f"the adapter {path} belongs to the base model {name}, which is not there: put it back, or set "
            f"base_model_name_or_path in {path / CONFIG} to where it is now"
        )
    return name


def find_bottom(path: str | Path) -> str:
    """Find the whole model below an adapter, or an adapter on an adapter …; of what is no adapter, that itself."""
    seen: list[Path] = []
    while is_adapter(path):
        seen.append(Path(path).resolve())
        path = find_base(path)
        if Path(path).resolve() in seen:
            raise UserError(
                f"the adapter {seen[-1]} names {path} as its base model, which is an adapter on it: set "
                f"base_model_name_or_path in {CONFIG} to the model that it was trained on"
            )
    return str(path)


def _recorded_digest(path: Path) -> str | None:
    try:
        return json.loads((path / RUN_FILE).read_text(encoding="utf-8")).get("base_sha256")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # a damaged record is for `checkpoint.read_run` to refuse


def _moved(name: str, path: Path) -> Iterator[Path]:
    """Yield where a base model may be that was moved together with the adapter, the likeliest first."""
    parts = Path(name).parts[1:] if Path(name).is_absolute() else Path(name).parts
    for start in range(len(parts)):
        for folder in path.parents:
            candidate = folder / Path(*parts[start:])
            if candidate.is_dir():
                yield candidate


def weights_digest(directory: str | Path) -> str | None:
    """Return the SHA-256 of the sizes of a model's weight files and of pieces of them; None for a Hub id.

    Training changes nearly every byte, so that pieces tell one training from another without reading gigabytes.
    """
    directory = Path(directory)
    if not directory.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(x for x in directory.iterdir() if x.suffix in (".safetensors", ".bin")):
        if file.name == "value_head.safetensors":
            continue
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as handle:
            for i in range(PIECES):
                handle.seek(max(size - PIECE, 0) * i // (PIECES - 1))
                digest.update(handle.read(PIECE))
    return digest.hexdigest()
