"""The hand-over between stages: a directory that is whole or absent, with a ``run.json`` that the next stage checks."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from summarize_rlhf.errors import UserError
from summarize_rlhf.hardware import commit, versions
from summarize_rlhf.hub import is_local, unreachable, use_hub
from summarize_rlhf.speed import tune
from summarize_rlhf.text import TEMPLATE
from summarize_rlhf.tokenizer import tokenizer_hash

RUN_FILE = "run.json"
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# GPT-J checkpoints of 2022 carry the causal mask as buffers. They hold no weights; nothing else may be left over.
OLD_BUFFERS = re.compile(r"\.attn\.(masked_)?bias$")


def check_output_dir(path: str | Path) -> None:
    """Before any work: may a checkpoint be written here? Raises ``UserError`` where it cannot or must not.

    A directory that holds files but no ``run.json`` was not written by a stage and is never replaced.
    """
    path = Path(path).absolute()
    if path.exists() and not path.is_dir():
        raise UserError(f"the output directory {path} is a file")
    if path.is_dir() and any(path.iterdir()) and not (path / RUN_FILE).exists():
        raise UserError(
            f"the output directory {path} holds files that no stage wrote (no {RUN_FILE}), and a finished run would "
            f"replace them: choose another --output_dir, or move them away"
        )
    parent = next(p for p in path.parents if p.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write to {parent}, where the output directory {path} should be made: choose another one"
        )


@contextlib.contextmanager
def write_directory(path: str | Path) -> Iterator[Path]:
    """Write a directory whole or not at all: ``with write_directory(out) as tmp: model.save_pretrained(tmp)``.

    The body writes into a hidden directory beside ``path``. When it ends well, that is synced to disk and
    renamed into place, replacing an earlier one. When it is interrupted in any way, it is removed and
    ``path`` is as it was.
    """
    path = Path(path).absolute()
    check_output_dir(path)
    tmp, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    with disk_errors(path):
        try:
            for leftover in (tmp, old):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            tmp.mkdir(parents=True)
            yield tmp
            sync_directory(tmp, whole=True)
            if path.exists():
                path.rename(old)
            tmp.rename(path)
            sync_directory(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(tmp, ignore_errors=True)
            if old.exists() and not path.exists():
                old.rename(path)
            raise


def write_file(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all; an earlier one stays until the new one is on disk."""
    path = Path(path)
    tmp = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            tmp.write_text(text, encoding="utf-8")
            _sync_one(tmp)
            tmp.replace(path)
        except BaseException:
            tmp.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Makes one line of a disk that is full or must not be written. torch and safetensors say it in words of theirs."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise UserError(f"cannot write {path}: {error.strerror}. Nothing was left there") from error
        raise
    except (RuntimeError, SafetensorError) as error:
        if any(words in str(error) for words in ("No space left", "file write failed", "unexpected pos")):
            raise UserError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}. Nothing was left there") from error
        raise


def sync_directory(directory: Path, whole: bool = False) -> None:
    """Makes the names in a directory outlive a power cut; with ``whole`` also all that is below it."""
    for entry in directory.rglob("*") if whole else ():
        _sync_one(entry)
    _sync_one(directory)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def run_record(
    stage: str,
    arguments: dict[str, Any],
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    max_length: int,
    data: dict[str, Any],
    **extra: Any,
) -> dict[str, Any]:
    """What a stage did and what the next one relies on; see ``check_handover``.

    ``stage`` is "sft", "rm" or "ppo"; ``max_length`` counts tokens of post and summary together; ``data``
    maps the split's role to its ``data.fingerprint``; ``extra`` is kept as it is (results, steps).
    """
    return {
        "stage": stage,
        "arguments": arguments,
        "seed": seed,
        "max_length": max_length,
        "template": TEMPLATE,
        "tokenizer_sha256": tokenizer_hash(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "data": data,
        "commit": commit(),
        "versions": versions(),
        **extra,
    }


def save_run(directory: Path, record: dict[str, Any]) -> None:
    """Write the record as ``run.json``. Paths and dataclasses become plain JSON; what JSON cannot hold raises."""
    text = json.dumps(record, indent=2, default=_plain)
    (directory / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"run.json cannot hold a {type(value).__name__}")


def read_run(path: str | Path) -> dict[str, Any] | None:
    """The record of a checkpoint directory. ``None``, after one warning, for a checkpoint that no stage here wrote."""
    file = Path(path) / RUN_FILE
    if not file.is_file():
        warnings.warn(f"{path} has no {RUN_FILE}: its tokenizer and text template are not checked", stacklevel=2)
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is no valid JSON ({error}): the checkpoint is damaged, write it anew") from error


def check_handover(
    path: str | Path,
    *,
    expects_stage: str | tuple[str, ...],
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> dict[str, Any] | None:
    """Refuse, by name, a checkpoint that the next stage cannot rely on: of another stage, template or tokenizer.

    Returns its record, or ``None`` for a released checkpoint without one (one warning).
    """
    record = read_run(path)
    if record is None:
        return None
    stages = (expects_stage,) if isinstance(expects_stage, str) else expects_stage
    if record["stage"] not in stages:
        raise UserError(
            f"{path} holds a checkpoint of stage {record['stage']!r}, but {' or '.join(stages)} is needed here"
        )
    if record["template"] != TEMPLATE:
        raise UserError(
            f"{path} was trained on another text template: {record['template']!r}; this version writes {TEMPLATE!r}. "
            f"Train it again, or use the version of commit {record['commit']}"
        )
    if tokenizer is not None and record["tokenizer_sha256"] != tokenizer_hash(tokenizer):
        raise UserError(
            f"{path} was trained with another tokenizer than the one given ({tokenizer.name_or_path}): their "
            f"ids do not mean the same text. Use the tokenizer stored in {path}"
        )
    return record


def is_whole(directory: str | Path) -> bool:
    """Whether a directory has a model's config and weights. (A half-written one never gets its name.)"""
    directory = Path(directory)
    return (directory / "config.json").is_file() and any((directory / name).is_file() for name in WEIGHT_FILES)


def find_model(local_dir: str | Path, hub_id: str) -> str:
    """The local directory if a stage has filled it, else the Hub id."""
    return str(local_dir) if is_whole(local_dir) else hub_id


def load_causal_lm(path: str | Path, dtype: torch.dtype = torch.float32, **kwargs: Any) -> PreTrainedModel:
    """A causal language model whose every weight came from the checkpoint: nothing random, nothing left over.

    Raises ``UserError`` for missing, unexpected or mismatched keys (named), for damaged files, and for a Hub
    id out of reach. Weights are held in fp32 unless ``dtype`` says otherwise; mixed precision is the
    trainer's work.
    """
    tune()
    if not is_local(path):
        use_hub()
    elif not is_whole(path):
        raise UserError(f"{path} holds no whole model: config.json and one of {', '.join(WEIGHT_FILES)} are needed")
    report = transformers_logging.get_logger("transformers.modeling_utils")
    report.disabled = True  # its table of keys becomes our error
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(path), dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs
        )
    except SafetensorError as error:
        raise UserError(f"{path}: damaged weights ({error}); copy or train the checkpoint again") from error
    except (OSError, ValueError, KeyError) as error:
        if Path(path).exists():
            raise UserError(f"{path}: no causal language model that transformers can load ({error})") from error
        raise unreachable("model", path, error) from error
    finally:
        report.disabled = False
    check_keys(
        path,
        missing=info["missing_keys"],
        unexpected=info["unexpected_keys"],
        mismatched=[
            f"{key} {tuple(found)}, expected {tuple(wanted)}" for key, found, wanted in info["mismatched_keys"]
        ],
    )
    return model


def fit_to_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, max_length: int) -> None:
    """Check that the model can read this tokenizer's ids and ``max_length`` positions, and give it their EOS and pad.

    A model may have more embeddings than the tokenizer has tokens (GPT-J: 50,400 for 50,257). Raises ``UserError``.
    """
    config = model.config
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path} has {len(tokenizer)} tokens, but the model {config.name_or_path} "
            f"embeds {config.vocab_size}: they do not belong together"
        )
    positions = getattr(config, "max_position_embeddings", None)  # families without a table have no limit
    if positions is not None and max_length > positions:
        raise UserError(
            f"max_length is {max_length} tokens, but the model {config.name_or_path} reads {positions} at most"
        )
    for ids in (config, model.generation_config):
        ids.eos_token_id, ids.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        if tokenizer.bos_token_id is not None:
            ids.bos_token_id = tokenizer.bos_token_id


def drop_step_checkpoints(steps_dir: str | Path) -> None:
    """Remove every ``checkpoint-N`` and what else bridges an interruption: the finished directory has what counts."""
    for path in Path(steps_dir).glob("checkpoint-*"):
        shutil.rmtree(path)
    for name in ("frozen_*", "wandb_run_id"):  # the first are of reward_model/frozen_trunk.py
        for path in Path(steps_dir).glob(name):
            path.unlink()


def check_keys(path: str | Path, *, missing: Any = (), unexpected: Any = (), mismatched: Any = ()) -> None:
    """``UserError`` naming the keys by which a checkpoint differs from its model; old mask buffers are tolerated."""
    unexpected = [key for key in unexpected if not OLD_BUFFERS.search(key)]
    faults = [
        f"{len(keys)} {what}: {', '.join(sorted(keys)[:5])}{' …' if len(keys) > 5 else ''}"
        for what, keys in (
            ("missing", missing),
            ("not part of the model", unexpected),
            ("of another shape", mismatched),
        )
        if keys
    ]
    if faults:
        raise UserError(f"the weights in {path} do not fit the model; keys {'; '.join(faults)}")


def state_dict_of(path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of a weight file, or of a directory's safetensors or ``pytorch_model.bin`` (whole or in shards).

    Pickled files are read with ``weights_only=True``. Raises ``UserError`` for damaged or missing files.
    """
    path = Path(path)
    file = path
    if path.is_dir():
        file = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), path / WEIGHT_FILES[0])
    if not file.is_file():
        raise UserError(f"no weights at {file}")
    if file.suffix == ".json":
        shards = sorted(set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()))
        return {key: value for shard in shards for key, value in state_dict_of(file.parent / shard).items()}
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever a damaged pickle or zip provokes
        raise UserError(
            f"{file}: damaged or no weight file ({type(error).__name__}: {error}); copy it again"
        ) from error
