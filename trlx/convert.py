"""PPO checkpoints written by trlX 0.7, as plain transformers directories.

    python -m trlx.convert OLD NEW

`OLD` is an `hf_model` directory of trlX: its weights are named `base_model.*`, `v_head.*` and `frozen_head.*` (the
reference's blocks), and transformers would take it for a model without weights. `NEW` gets the model, the tokenizer
where `OLD` has one, and the value head beside them, as this engine writes its own checkpoints. `model.model_path`
may also name `OLD` directly.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from summarize_rlhf import UserError
from summarize_rlhf.lm.model_directory import read_causal_lm, write_model
from summarize_rlhf.lm.weights import WEIGHT_FILES, check_keys, clean_config, state_dict_of
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.tokenizer import load_tokenizer

REFERENCE = "frozen_head."  # copies of blocks that the model has; only training needed them
HEAD = "v_head."
MODEL = "base_model."


def weight_names(directory: str | Path) -> list[str]:
    """The names of a directory's weights, without reading the weights; empty where there are none."""
    file = next((Path(directory) / name for name in WEIGHT_FILES if (Path(directory) / name).is_file()), None)
    if file is None:
        return []
    try:
        if file.suffix == ".json":
            return list(json.loads(file.read_text(encoding="utf-8"))["weight_map"])
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as weights:
                return list(weights.keys())
        return list(torch.load(file, map_location="cpu", mmap=True, weights_only=True))
    except Exception as error:  # torch.load raises whatever a damaged pickle or zip provokes
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{file}: damaged weights, or a pickle that holds more than tensors ({reason})") from error


def is_of_trlx(directory: str | Path) -> bool:
    """Whether trlX wrote this directory: its model's weights carry a prefix, or its value head lies among them."""
    return any(name.startswith((MODEL, HEAD + "0.")) for name in weight_names(directory))


def load(directory: str | Path) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """The model of a trlX checkpoint and its value head's weights. Raises UserError naming keys that do not fit."""
    state = {name: x for name, x in state_dict_of(directory).items() if not name.startswith(REFERENCE)}
    head = {name.removeprefix(HEAD): x for name, x in state.items() if name.startswith(HEAD)}
    weights = {name.removeprefix(MODEL): x for name, x in state.items() if not name.startswith(HEAD)}
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory), dtype=torch.float32)
    clean_config(model)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    model.tie_weights()
    tied = set(model.all_tied_weights_keys)
    check_keys(directory, missing=[key for key in missing if key not in tied], unexpected=unexpected)
    return model, head


def convert(old: str | Path, new: str | Path) -> None:
    """Writes the trlX checkpoint `old` as the transformers directory `new`, whole or not at all."""
    if not is_of_trlx(old):
        raise UserError(f"{old} has no weights named {MODEL}* or {HEAD}0.*: it is no PPO checkpoint of trlX")
    model, head = load(old)
    with write_model(new, read_causal_lm) as tmp:
        model.save_pretrained(tmp)
        if head:
            save_file(head, tmp / "value_head.safetensors")
        if (Path(old) / "tokenizer_config.json").is_file():
            load_tokenizer(old).save_pretrained(tmp)


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="directory of trlX's checkpoint")
    parser.add_argument("new", help="directory to write; must not exist")
    arguments = parser.parse_args()
    convert(arguments.old, arguments.new)
    print(f"wrote {arguments.new}")


if __name__ == "__main__":
    main()
