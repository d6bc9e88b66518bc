"""Read the PPO checkpoints of trlX 0.7: `base_model.*`, `v_head.*` and `frozen_head.*` among the same weights."""

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from summarize_rlhf.lm.speed import tune_model
from summarize_rlhf.lm.weights import WEIGHT_FILES, check_keys, clean_config, state_dict_of, weight_map
from summarize_rlhf.reading import reading

MODEL = "base_model."
HEAD = "v_head."
REFERENCE = "frozen_head."  # the reference policy: copies of blocks that only training needed


def weight_names(directory: str | Path) -> list[str]:
    """Return the names of a directory's weights without reading the weights; none where it has no weights."""
    file = next((Path(directory) / name for name in WEIGHT_FILES if (Path(directory) / name).is_file()), None)
    if file is None:
        return []
    with reading(file, "weights", "copy them again"):
        if file.suffix == ".json":
            return list(weight_map(file))
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as weights:
                return list(weights.keys())
        return list(torch.load(file, map_location="cpu", mmap=True, weights_only=True))


def is_of_trlx(directory: str | Path) -> bool:
    """Tell whether trlX wrote this directory: weights have its prefix, or the value head lies among them."""
    return any(name.startswith((MODEL, HEAD + "0.")) for name in weight_names(directory))


def load(directory: str | Path) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """Load the model of a trlX checkpoint and its value head's weights. Raises UserError for keys that do not fit."""
    state = {name: x for name, x in state_dict_of(directory).items() if not name.startswith(REFERENCE)}
    head = {name.removeprefix(HEAD): x for name, x in state.items() if name.startswith(HEAD)}
    weights = {name.removeprefix(MODEL): x for name, x in state.items() if not name.startswith(HEAD)}
    with reading(directory, "model's config in"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory), dtype=torch.float32)
    tune_model(clean_config(model))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    model.tie_weights()
    tied = set(model.all_tied_weights_keys)
    check_keys(directory, missing=[key for key in missing if key not in tied], unexpected=unexpected)
    return model, head
