"""The frozen blocks' output for each pair: computed once, read in every epoch and evaluation.

With 70 % of the blocks frozen these take most of a training step, and give the same each time. Their output, H numbers
a token, goes to a file beside the step checkpoints; a step then runs only the trained blocks.

Shapes: B pairs of a batch, P tokens of one packed row, T of all packed rows together, H hidden.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import TrainingArguments

from reward_model.pairs import PackedPairs
from reward_model.reward_model import RewardModel
from summarize_rlhf import UserError
from summarize_rlhf.lm.families import decoder_blocks
from summarize_rlhf.lm.speed import CACHE_TOKENS
from summarize_rlhf.run import kept

PREFIX = "frozen_"  # of the files' names
TOKENS_ON_GPU = 2**15  # in a pass over frozen blocks, which keeps no activations


class PairsWithTrunk(Dataset):
    """Encoded pairs, each with its packed row's `trunk` (P, H): the states that enter the lowest trained block."""

    def __init__(self, pairs: datasets.Dataset, states: Tensor):
        self.pairs = pairs
        self.lengths: list[int] = pairs["length"]
        self.ends = torch.tensor(self.lengths).cumsum(0).tolist()
        self.states = states  # (T, H), in a file

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {**self.pairs[i], "trunk": self.states[self.ends[i] - self.lengths[i] : self.ends[i]]}


def gigabytes(model: RewardModel, splits: list[datasets.Dataset], dtype: torch.dtype) -> float:
    """Return the size of the states of all pairs in the `splits`."""
    tokens = sum(sum(split["length"]) for split in splits)
    return tokens * model.config.hidden_size * dtype.itemsize / 1e9


def can_keep(model: RewardModel) -> bool:
    """Return whether there are frozen blocks that run by themselves, with the same output each time: no dropout.

    An adapter's dropout is none of theirs: it has layers in the trained blocks alone.
    """
    if model.depth == 0:
        return False
    trained = {module for block in decoder_blocks(model.transformer)[model.depth :] for module in block.modules()}
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout) and module not in trained]
    # Attention's rate is a number in the config; so are those of heads for other tasks, which this model lacks.
    settings = {name: x for name, x in model.config.to_dict().items() if "drop" in name and isinstance(x, float)}
    rates += [x for name, x in settings.items() if not name.startswith(("summary", "classifier"))]
    if any(rates):
        return False
    try:
        model.decoder.prove(model.depth)
    except UserError:
        return False
    return True


def keep_trunk(
    model: RewardModel,
    encoded: dict[str, datasets.Dataset],
    pack: PackedPairs,
    directory: Path,
    training: TrainingArguments,
    dtype: torch.dtype,
    most_gb: float,
) -> dict[str, datasets.Dataset | Dataset]:
    """Return each split's pairs with their trunk's output, in files in `directory`; as they are if that is too much.

    `dtype` is what is trained in: so are the frozen blocks, here as in a step. All processes of the launch call this.
    """
    needed = gigabytes(model, list(encoded.values()), dtype)
    if needed > most_gb:
        if training.process_index == 0:
            print(f"the frozen blocks run in every epoch: to keep their outputs, set --trunk_cache_gb {needed + 1:.0f}")
        return encoded
    return {
        split: with_trunk(model, pairs, pack, directory / f"{PREFIX}{split}.bin", training.device, dtype)
        for split, pairs in encoded.items()
    }


def with_trunk(
    model: RewardModel, pairs: datasets.Dataset, pack: PackedPairs, file: Path, device: torch.device, dtype: torch.dtype
) -> PairsWithTrunk:
    """Return the pairs with their trunk's output from `file`, which is written first unless an earlier start did so.

    All processes of the launch call this; each computes its share. Raises `UserError` where the file does not fit on
    the disk.
    """
    state = PartialState()
    shape = (sum(pairs["length"]), model.config.hidden_size)
    made_from = {"shape": shape, "dtype": str(dtype), "sha256": digest(model, pairs)}
    found = broadcast_object_list([kept.is_usable(file, made_from) if state.is_main_process else None])[0]
    if state.is_main_process and not found:
        kept.begin(file)
        reserve(file, shape[0] * shape[1] * dtype.itemsize)
    state.wait_for_everyone()
    states = torch.from_file(str(file), shared=True, size=shape[0] * shape[1], dtype=dtype).view(shape)
    result = PairsWithTrunk(pairs, states)
    if not found:
        compute(model, result, pack, device, dtype, state)
        state.wait_for_everyone()
        if state.is_main_process:
            kept.finish(file, made_from)
    return result


@torch.no_grad()
def compute(
    model: RewardModel,
    data: PairsWithTrunk,
    pack: PackedPairs,
    device: torch.device,
    dtype: torch.dtype,
    state: PartialState,
) -> None:
    """Compute this process's share of `data.states`."""
    model.transformer.to(device, dtype)
    order = sorted(range(len(data)), key=data.lengths.__getitem__)[state.process_index :: state.num_processes]
    at_once = CACHE_TOKENS if device.type == "cpu" else TOKENS_ON_GPU
    with tqdm(total=len(order), desc="frozen blocks", unit="pair", disable=not state.is_main_process) as bar:
        while order:
            count = max(1, at_once // data.lengths[order[-1]])
            rows, order = order[-count:], order[:-count]
            batch = pack([data.pairs[i] for i in rows])
            batch = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in batch.items()}
            out = model.frozen(**pack.inputs(batch))  # (B, P, H)
            for states, i in zip(out, rows, strict=True):
                data.states[data.ends[i] - data.lengths[i] : data.ends[i]] = states[: data.lengths[i]].cpu()
            bar.update(len(rows))


def reserve(file: Path, size: int) -> None:
    """Create an empty file of `size` bytes on disk: mapping a file that the disk has no room for kills the process."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("wb") as handle:
            os.posix_fallocate(handle.fileno(), 0, size)
    except OSError as error:
        kept.drop(file)
        raise UserError(
            f"no room for the frozen blocks' outputs ({size / 1e9:.1f} GB) in {file.parent}: {error.strerror}. "
            "Free some, or set --trunk_cache_gb 0: the frozen blocks then run in every epoch"
        ) from error


def digest(model: RewardModel, pairs: datasets.Dataset) -> str:
    """Return the SHA-256 of all that the states depend on: the model and the tokens."""
    hashed = hashlib.sha256(model.digest().encode())
    for pair in pairs:
        hashed.update(f"{pair['chosen_ids']}{pair['rejected_ids']}".encode())
    return hashed.hexdigest()
