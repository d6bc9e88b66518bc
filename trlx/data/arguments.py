"""Check the types of `trlx.train`'s arguments, before anything is loaded."""

import io
import os
from collections.abc import Iterable, Mapping
from typing import Any

from transformers import PretrainedConfig

GIVEN_BY_THE_TRAINER = {"samples", "prompts", "outputs", "tokenizer", "output_ids"}  # to reward_fn and metric_fn
ROWS = "give a list of texts, or of dictionaries with a 'prompt' each"


def check_prompts(name: str, prompts: Any) -> list[str | dict[str, Any]]:
    """Return `prompts` as a list: any iterable of texts, or of dictionaries with a "prompt", will do.

    Raises TypeError for a single text (it would yield its letters), a mapping, a data frame, a file, or rows of another
    type; ValueError for no prompts at all, an empty one, or a key that cannot be an argument of reward_fn.
    """
    where = f"trlx.train({name}=…)"
    if isinstance(prompts, str | bytes | Mapping | set | frozenset | io.IOBase | os.PathLike):
        raise TypeError(f"{where} is a {type(prompts).__name__}: {ROWS}.")
    if type(prompts).__name__ == "DataFrame":
        raise TypeError(f"{where} is a DataFrame: {ROWS}, as to_dict('records') makes them.")
    if not isinstance(prompts, Iterable):
        raise TypeError(f"{where} is {prompts!r}: {ROWS}.")
    rows = list(prompts)
    if not rows:
        raise ValueError(f"{where} holds no prompts: {ROWS}.")
    for i, row in enumerate(rows):
        if isinstance(row, Mapping):
            if "prompt" not in row:
                raise ValueError(f"{where}: prompt {i} has no key 'prompt', only {sorted(map(str, row))}.")
            for key in row:
                if not isinstance(key, str) or key in GIVEN_BY_THE_TRAINER:
                    raise ValueError(
                        f"{where}: prompt {i} has the key {key!r}, but its keys become arguments of reward_fn beside "
                        f"{', '.join(sorted(GIVEN_BY_THE_TRAINER))}: name it otherwise."
                    )
        text = row["prompt"] if isinstance(row, Mapping) else row
        if not isinstance(text, str):
            raise TypeError(f"{where}: prompt {i} is {text!r}, a {type(text).__name__}: {ROWS}.")
        if not text:
            raise ValueError(f"{where}: prompt {i} is empty.")
    return rows


def check_function(name: str, function: Any) -> None:
    """Raise TypeError unless `function` can be called."""
    if not callable(function):
        raise TypeError(f"trlx.train({name}=…) should be a function, but is {function!r}.")


def check_config_type(config: Any, kind: type) -> None:
    """Raise TypeError, and say how to make one, unless `config` is a TRLConfig (`kind`)."""
    if isinstance(config, kind):
        return
    remedy = "build one with TRLConfig.update(default_ppo_config(), {…})"
    if isinstance(config, Mapping):
        remedy = "say TRLConfig.from_dict(…)"
    elif isinstance(config, str | os.PathLike):
        remedy = "say TRLConfig.load_yaml(…)"
    raise TypeError(f"trlx.train(config=…) should be a TRLConfig, but is a {type(config).__name__}: {remedy}.")


def check_stop_sequences(stops: Any) -> None:
    """Raise TypeError unless `stops` is a list of texts, ValueError for an empty text, which occurs everywhere."""
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise TypeError(f"trlx.train(stop_sequences=…) should be a list of texts, but is {stops!r}.")
    if not all(stops):
        raise ValueError("trlx.train(stop_sequences=…) holds an empty text, which would end every response at once.")


def check_model_path(name: str, path: Any) -> None:
    """Raise TypeError unless `path` is a directory, a Hub id or a transformers configuration; ValueError if empty."""
    if not isinstance(path, str | os.PathLike | PretrainedConfig):
        raise TypeError(
            f"{name} should be a directory, a Hub id or a transformers configuration, but is a {type(path).__name__}."
        )
    if path == "":
        raise ValueError(f"{name} is empty: name a directory or a Hub id.")
