"""A model's directory gets its name, and counts as finished, only if the next stage can read it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from summarize_rlhf import UserError
from summarize_rlhf.lm.adapters import is_adapter
from summarize_rlhf.lm.lora import check_adapter
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.reading import reading
from summarize_rlhf.run.files import write_directory
from summarize_rlhf.tokenizer import load_tokenizer

# What the next stage reads a model with, but without its numbers: raises `UserError` where it would.
Reader = Callable[[Path], object]


def read_causal_lm(directory: Path, **options: object) -> None:
    """Names and shapes of all weights, by the reader of every stage that takes a causal language model."""
    if is_adapter(directory):
        check_adapter(directory)
        return
    load_causal_lm(directory, device_map="meta", **options)


@contextlib.contextmanager
def write_model(path: str | Path, read: Reader) -> Iterator[Path]:
    """As `write_directory`, for a model: one that `read` refuses, or with a number that is not finite, is not written.

    Raises `UserError` that says what is wrong with it; `path` is then as it was.
    """
    with write_directory(path) as tmp:
        yield tmp
        try:
            check_model(tmp, read)
        except UserError as error:
            reason = str(error).replace(str(tmp), "it")
            raise UserError(
                f"{path} was not written, because the next stage could not read it: {reason}. "
                "The checkpoints of this run are kept"
            ) from error


def check_model(directory: Path, read: Reader) -> None:
    """Raise `UserError` unless the directory's model, and its tokenizer if it has one, can be used."""
    if (directory / "tokenizer_config.json").is_file():
        load_tokenizer(directory)
    with torch.random.fork_rng(devices=[]):
        read(directory)
    for file in sorted(directory.glob("*.safetensors")):
        check_numbers(file)


def check_numbers(file: Path) -> None:
    """Raise `UserError` naming the first tensor of a file that is empty or has a number that is not finite.

    One tensor at a time is in memory.
    """
    with reading(file, "weights"), safe_open(file, "pt") as weights:
        for name in weights.keys():  # noqa: SIM118  no dictionary
            tensor = weights.get_tensor(name)
            if tensor.numel() == 0:
                raise UserError(f"{file.name}: {name} has the shape {list(tensor.shape)}, no number at all")
            if not tensor.isfinite().all():
                raise UserError(f"{file.name}: {name} holds numbers that are not finite (NaN or infinity)")
