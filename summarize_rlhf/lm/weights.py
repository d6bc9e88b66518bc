"""Read weights: every one comes from the checkpoint, nothing is random, nothing is left over."""

import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.integrations import unset_hf_deepspeed_config
from transformers.utils import logging as transformers_logging

from summarize_rlhf import UserError
from summarize_rlhf.hub import is_local, unreachable, use_hub
from summarize_rlhf.lm.adapters import CONFIG, is_adapter, load_adapter
from summarize_rlhf.lm.end_of_response import set_ends
from summarize_rlhf.lm.speed import tune_model
from summarize_rlhf.reading import is_out_of_memory, reading, reason

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TRAINABLE = {"F64", "F32", "F16", "BF16"}
# GPT-J checkpoints of 2022 carry the causal mask as buffers. They hold no weights; nothing else may be left over.
OLD_BUFFERS = re.compile(r"\.attn\.(masked_)?bias$")


def is_complete(directory: str | Path) -> bool:
    """Whether a directory has a model's config and weights. (A half-written one never gets its name.)"""
    directory = Path(directory)
    return (directory / "config.json").is_file() and any((directory / name).is_file() for name in WEIGHT_FILES)


def find_model(local_dir: str | Path, hub_id: str, run_dir: str | Path | None = None) -> str:
    """Return the local directory if a stage has begun to fill it, else the Hub id.

    ``run_dir`` is the folder of that stage's run, if it is another one. An incomplete model is taken as well:
    loading it ends in an error, where the published model in its place would pass for the user's own result.
    """
    return hub_id if _trace_of_run(local_dir, run_dir) is None else str(local_dir)


def check_found(path: str | Path, local_dir: str | Path, hub_id: str, run_dir: str | Path | None = None) -> None:
    """Say so where ``path`` is the published model because ``find_model`` found no own one.

    Raises ``UserError`` where it is a local directory that a run has begun but not filled.
    """
    trace = _trace_of_run(local_dir, run_dir)
    if trace is None and str(path) == hub_id and os.environ.get("RANK", "0") == "0":
        print(f"note: there is no model in {local_dir}; the published {hub_id} is used in its place")
    if str(path) == str(local_dir) and not is_complete(path) and not is_adapter(path):
        raise UserError(
            f"{local_dir} holds no whole model, but {trace} shows that one was begun, so the published {hub_id} is not "
            "taken in its place. Finish that run, or name the model to use"
        )


def _trace_of_run(local_dir: str | Path, run_dir: str | Path | None) -> Path | None:
    """Return a file that shows that a stage has filled the directory, or has begun to."""
    for folder in filter(None, (local_dir, run_dir)):
        files = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
        shown = [file for file in files if not file.name.startswith(".")]
        if shown:
            return shown[0]
    return next(iter(sorted(Path(f"{local_dir}-steps").glob("checkpoint-*"))), None)


def load_causal_lm(path: str | Path, dtype: torch.dtype = torch.float32, **kwargs: Any) -> PreTrainedModel:
    """Load a causal language model whose every weight comes from the checkpoint: nothing random, nothing left over.

    Raises ``UserError`` for missing, unexpected or mismatched keys (named), for damaged files, and for a Hub
    id out of reach. Weights are held in fp32 unless ``dtype`` says otherwise; mixed precision is the
    trainer's work. Each process holds all of them, also under ZeRO-3, which spreads them when training begins. An
    adapter's directory gives its base model with the adapter merged into it. The model is tuned (`speed.tune_model`).
    """
    unset_hf_deepspeed_config()  # else ZeRO-3 would leave pieces, which nothing but its engine can use
    if not is_local(path):
        use_hub()
    elif is_adapter(path):
        if is_complete(path):
            raise UserError(f"{path} holds a whole model and an adapter ({CONFIG}) as well: move one of them away")
        return load_adapter(path, lambda base: load_causal_lm(base, **kwargs), state_dict_of).to(dtype)
    elif not is_complete(path):
        raise UserError(f"{path} holds no whole model: config.json and one of {', '.join(WEIGHT_FILES)} are needed")
    else:
        check_is_text_model(Path(path))
        for index in Path(path).glob("*.index.json"):
            weight_map(index)
        refuse_quantised(Path(path))
    report = transformers_logging.get_logger("transformers.modeling_utils")
    report.disabled = True  # its table of keys becomes our error
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            generation_config=GenerationConfig(),  # in place of the checkpoint's own, see `clean_config`
            **kwargs,
        )
    except Exception as error:
        raise _explained(path, error) from error
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
    check_forward(path, model)
    return tune_model(clean_config(model))


def check_forward(path: str | Path, model: PreTrainedModel) -> None:
    """Raise ``UserError`` where a few tokens do not go through the model, or where one sees those after it.

    Some numbers of a config (heads, rotary dimensions) enter at the first forward pass alone, which would be after the
    data is read. Not for a model without its numbers, on the meta device.
    """
    if model.device.type == "meta":
        return
    if model.base_model is model and model.get_output_embeddings() is not None:
        raise UserError(
            f"{path} holds a {model.config.model_type!r} model, which transformers cannot part from its head"
        )
    ids = torch.zeros(2, 4, dtype=torch.long, device=model.device)
    ids[1, -1] = 1  # two rows that differ in their last token
    with reading(path, "model in", "do the numbers in its config.json fit together?"), torch.no_grad():
        one, other = model(input_ids=ids)[0][:, :-1].float()
    if not (one.isfinite().all() and other.isfinite().all()):
        raise UserError(
            f"{path} gives no finite numbers for a few tokens: its weights are damaged, or {model.dtype} cannot hold "
            "them"
        )
    rounding = 1e-5 if model.dtype == torch.float32 else torch.finfo(model.dtype).eps ** 0.5
    if not (one - other).abs().max() <= rounding * one.abs().max():
        raise UserError(
            f"{path} holds a {model.config.model_type!r} model whose tokens see those that come after them: it is no "
            "causal language model (of a BERT, is_decoder is to be set in config.json, and it to be trained as one)"
        )


def _explained(path: str | Path, error: Exception) -> Exception:
    """Make the one-line error for a model that did not load, whatever it provoked in transformers or torch."""
    if is_out_of_memory(error):
        return UserError(f"{path} does not fit into the memory that is left ({reason(error)})")
    if not Path(path).exists():
        return unreachable("model", path, error) if isinstance(error, OSError | ValueError | KeyError) else error
    if isinstance(error, SafetensorError | pickle.UnpicklingError | RuntimeError | EOFError):
        return UserError(f"{path}: damaged weights ({reason(error)}); copy or train the checkpoint again")
    return UserError(f"{path}: no causal language model that transformers can load ({reason(error)})")


def clean_config(model: PreTrainedModel) -> PreTrainedModel:
    """Remove all generation options of a model but its token ids, from its config too; return the model.

    A checkpoint's taste (temperature, repetition penalty …) then bends no sample, and no combination that transformers
    refuses to save, such as a temperature with ``do_sample`` false, stands in the way of saving what was trained.
    """
    config = model.config
    for name in config._get_generation_parameters():
        delattr(config, name)
    if config.model_type == "rwkv":
        config.rescale_every = 0  # halves weights in place in evaluation mode, and would save them so
    ids = {name: getattr(config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(use_cache=True, **{name: x for name, x in ids.items() if _is_id(x)})
    return model


def _is_id(value: Any) -> bool:
    """Whether it is a token's id, or a list of such; Llama 1 says -1 for none."""
    ids = value if isinstance(value, list) else [value]
    return bool(ids) and all(isinstance(x, int) and x >= 0 for x in ids)


def refuse_quantised(path: Path) -> None:
    """Raise ``UserError`` where the weights are not of a precision that one can train on."""
    for file in path.glob("*.safetensors"):
        with reading(file, "weights", "copy or train the checkpoint again"), safe_open(file, "pt") as weights:
            kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118  no dictionary
        foreign = sorted(kinds - TRAINABLE)
        if foreign:
            raise UserError(
                f"{file} holds weights of type {', '.join(foreign)}: a quantised checkpoint cannot be trained. Use the "
                f"original, in one of {', '.join(sorted(TRAINABLE))}"
            )


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
    check_positions(config, max_length, "max_length")
    for ids in (config, model.generation_config):
        set_ends(ids, tokenizer)
        if tokenizer.bos_token_id is not None:
            ids.bos_token_id = tokenizer.bos_token_id


def check_positions(config: PretrainedConfig, tokens: int, option: str) -> None:
    """Raise ``UserError`` where texts of ``tokens`` tokens, which an option allows, are longer than the model reads."""
    positions = config.to_dict().get("max_position_embeddings") or config.to_dict().get("n_positions")
    if positions is not None and tokens > positions:  # families without a table have no limit
        raise UserError(
            f"{option} is {tokens} tokens, but the model {config.name_or_path} reads {positions} at most: lower it"
        )


def check_is_text_model(path: Path) -> None:
    """Raise ``UserError`` for a model of pictures or sound and text, whose language model is a part of it."""
    with reading(path / "config.json", "model's config"):
        config = AutoConfig.from_pretrained(str(path))
    if config.get_text_config() is not config and not config.is_encoder_decoder:
        raise UserError(
            f"{path} holds a {config.model_type!r} model, of which only a part is a language model: save that part "
            "(transformers' class …ForCausalLM) to a directory of its own, and name that"
        )


def check_keys(path: str | Path, *, missing: Any = (), unexpected: Any = (), mismatched: Any = ()) -> None:
    """Raise ``UserError`` naming the keys by which a checkpoint differs from its model, old mask buffers apart."""
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


def check_shapes(path: str | Path, expected: Mapping[str, torch.Size], found: Mapping[str, torch.Size]) -> None:
    """Raise ``UserError`` naming the keys by which the shapes ``found`` at ``path`` differ from those ``expected``."""
    check_keys(
        path,
        missing=expected.keys() - found.keys(),
        unexpected=found.keys() - expected.keys(),
        mismatched=[
            f"{key} {tuple(found[key])}, expected {tuple(expected[key])}"
            for key in expected.keys() & found.keys()
            if found[key] != expected[key]
        ],
    )


def shapes_of(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in state.items()}


def shapes_in(file: Path) -> dict[str, torch.Size]:
    """Return the shapes in a safetensors file, reading nothing but its header."""
    with reading(file, "weights", "copy them again"), safe_open(file, "pt") as weights:
        return {key: torch.Size(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118


def state_dict_of(path: str | Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a weight file, or of a directory's safetensors or ``pytorch_model.bin``, sharded or not.

    Pickled files are read with ``weights_only=True``. Raises ``UserError`` for damaged or missing files.
    """
    path = Path(path)
    file = path
    if path.is_dir():
        file = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), path / WEIGHT_FILES[0])
    if not file.is_file():
        raise UserError(f"no weights at {file}")
    if file.suffix == ".json":
        shards = sorted(set(weight_map(file).values()))
        return {key: value for shard in shards for key, value in state_dict_of(file.parent / shard).items()}
    with reading(file, "weights", "copy them again"):
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)


def weight_map(index: Path) -> dict[str, str]:
    """Read from the index of sharded weights which file holds which key; all files must be beside it."""
    with reading(index, "index of the weights", "copy it again"):
        content = json.loads(index.read_text(encoding="utf-8"))
        found = {str(key): str(shard) for key, shard in content["weight_map"].items()}
        beside = {path.name for path in index.parent.iterdir() if path.is_file()}
    for shard in sorted(set(found.values())):
        if shard not in beside:
            raise UserError(f"{index} names {shard}, which is not beside it: copy it again")
    return found
