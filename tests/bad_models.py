"""Model directories that are wrong, and what the one line of error says."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from good_input import Fault, Values, World
from safetensors.torch import load_file, save_file
from tiny import forget_files, make_tokenizer
from transformers import BertConfig, BertLMHeadModel, T5Config, T5ForConditionalGeneration


def copied(change: Callable[[Path], None]) -> Fault:
    """The SFT directory with something wrong in it, and no hashes in its run.json that would tell first."""

    def fault(world: World, tmp: Path) -> Values:
        shutil.copytree(world.sft, tmp / "model")
        forget_files(tmp / "model")
        change(tmp / "model")
        return {"model": tmp / "model"}

    return fault


def truncate(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def edit_weights(change: Callable[[dict], dict]) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        weights = change(load_file(model / "model.safetensors"))
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})

    return edit


def edit_config(model: Path, **values: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | values))


class Evil:
    """A pickle that runs a command where it is loaded with trust."""

    def __reduce__(self):
        return os.system, ("touch evil",)


def pickle_with_code(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save({**weights, "x": Evil()}, model / "pytorch_model.bin")


def encoder_decoder(model: Path) -> None:
    shutil.rmtree(model)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 400}
    T5ForConditionalGeneration(T5Config(**sizes)).save_pretrained(model)
    make_tokenizer().save_pretrained(model)


def without_tokenizer(model: Path) -> None:
    for file in model.glob("tokenizer*"):
        file.unlink()


def without_eos(model: Path) -> None:
    made = make_tokenizer()
    made.eos_token = None
    made.save_pretrained(model)


def bigger_tokenizer(model: Path) -> None:
    made = make_tokenizer()
    made.add_tokens([f"<{i}>" for i in range(100)])
    made.save_pretrained(model)
    (model / "run.json").unlink()


def other_stage(model: Path) -> None:
    record = json.loads((model / "run.json").read_text())
    (model / "run.json").write_text(json.dumps(record | {"stage": "rm"}))


def damaged_since(world: World, tmp: Path) -> Values:
    """One bit of a weight has changed, and only its hash knows."""
    shutil.copytree(world.sft, tmp / "model")
    content = bytearray((tmp / "model/model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp / "model/model.safetensors").write_bytes(content)
    return {"model": tmp / "model"}


def of_pictures(model: Path) -> None:
    """A configuration of several models, whose weights nobody gets to see."""
    content = {"model_type": "gemma3", "text_config": {"vocab_size": 400}, "architectures": ["Gemma3Model"]}
    (model / "config.json").write_text(json.dumps(content))


def bidirectional(model: Path) -> None:
    shutil.rmtree(model)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertLMHeadModel(BertConfig(vocab_size=400, is_decoder=False, **sizes)).save_pretrained(model)
    make_tokenizer().save_pretrained(model)


MODELS = {
    "of text and pictures": (copied(of_pictures), "of which only a part is a language model"),
    "no causal one": (copied(bidirectional), "it is no causal language model"),
    "impossible numbers": (
        copied(lambda m: edit_config(m, n_head=0)),
        "cannot read the model's config|no causal language model|cannot read the model in",
    ),
    "rotary dimensions that do not fit": (copied(lambda m: edit_config(m, rotary_dim=64)), "do the numbers in its"),
    "an unknown activation": (copied(lambda m: edit_config(m, activation_function="relu7")), "relu7"),
    "truncated safetensors": (
        copied(truncate),
        "damaged weights|cannot read the weights",
    ),
    "a key missing": (
        copied(edit_weights(lambda w: {k: w[k] for k in w if k != "lm_head.bias"})),
        "missing: lm_head.bias",
    ),
    "a key too many": (copied(edit_weights(lambda w: w | {"odd": torch.zeros(1)})), "1 not part of the model: odd"),
    "another shape": (
        copied(edit_weights(lambda w: w | {"lm_head.bias": torch.zeros(3)})),
        "of another shape: lm_head.bias",
    ),
    "NaN": (
        copied(edit_weights(lambda w: w | {"lm_head.weight": w["lm_head.weight"] * math.nan})),
        "no finite numbers for a few tokens: its weights are damaged",
    ),
    "quantised": (
        copied(edit_weights(lambda w: w | {"lm_head.weight": w["lm_head.weight"].to(torch.int8)})),
        "holds weights of type I8: a quantised checkpoint cannot be trained",
    ),
    "a pickle with code": (copied(pickle_with_code), "a pickle that holds more than tensors"),
    "an encoder-decoder": (copied(encoder_decoder), "no causal language model that transformers can load"),
    "no config": (copied(lambda m: (m / "config.json").unlink()), "holds no whole model"),
    "a config of nothing": (copied(lambda m: (m / "config.json").write_text("{}")), "cannot read the model's config"),
    "no tokenizer": (copied(without_tokenizer), "no usable tokenizer in"),
    "no EOS": (copied(without_eos), "has no EOS token; a summary could never end"),
    "a vocabulary too large": (copied(bigger_tokenizer), "they do not belong together|trained with another tokenizer"),
    "not there": (lambda world, tmp: {"model": tmp / "none"}, "does not exist"),
}
HANDED_OVER = {  # what stages 2 and 3 get from stage 1
    "damaged since": (damaged_since, "model.safetensors is not what was written"),
    "of another stage": (copied(other_stage), "holds a checkpoint of stage 'rm'"),
    "a damaged run.json": (copied(lambda m: (m / "run.json").write_text("{")), "cannot read the record"),
}
