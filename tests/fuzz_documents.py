"""Readers of JSON documents and of model directories, tried with documents that parse and with files that are none."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from fuzz_inputs import SPECIAL, edited, place
from fuzz_readers import ALL, CONFIG, MODEL, RECORD, TOKENIZER, linked, marker, reads
from hypothesis import strategies as st

from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from sft.train_gptj_summarize import SFTArguments
from summarize_rlhf.data import load_rows
from summarize_rlhf.handover import check_handover, save_run
from summarize_rlhf.lm.model_directory import check_model, read_causal_lm
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.run import kept
from summarize_rlhf.run.arguments import parse_arguments
from summarize_rlhf.run.checkpoints import MANIFEST, find
from summarize_rlhf.run.deepspeed_config import deepspeed_config
from summarize_rlhf.tokenizer import load_tokenizer, token_ids
from summarize_rlhf.versions import ROOT


def as_bytes(document: Any) -> bytes:
    return json.dumps(document, default=str).encode()


@reads(edited(as_bytes(CONFIG)))
def edited_configs(content: bytes, folder: Path) -> None:
    """A model that loads computes, too."""
    model = load_causal_lm(linked(folder, "config.json", content))
    ids = torch.tensor([token_ids(TOKENIZER, ["a cat"])[0]])
    assert model(ids).logits.shape[:2] == ids.shape


@reads(edited((MODEL / "tokenizer.json").read_bytes()))
def edited_tokenizers(content: bytes, folder: Path) -> None:
    token_ids(load_tokenizer(linked(folder, "tokenizer.json", content)), ["a cat, 10 dollars?"])


@reads(edited((MODEL / "tokenizer_config.json").read_bytes()))
def edited_tokenizer_configs(content: bytes, folder: Path) -> None:
    token_ids(load_tokenizer(linked(folder, "tokenizer_config.json", content)), ["a cat, 10 dollars?"])


FILES = {"config.json": {"bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}


@reads(edited(as_bytes(RECORD | {"files": FILES})))
def edited_records(content: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(b"")
    (folder / "run.json").write_bytes(content)
    check_handover(folder, expects_stage="sft", tokenizer=TOKENIZER)


@reads(edited(marker()))
def edited_manifests(content: bytes, folder: Path) -> None:
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / MANIFEST).write_bytes(content)
    find(folder, {"seed": 1}, frozenset(), fresh=False)


@reads(st.sampled_from(["sft/ds_config_gptj.json", "reward_model/ds_config_gpt_j.json",
                        "configs/ds_config_trlx_gptj_summarize.json"])
       .flatmap(lambda name: edited((ROOT / name).read_bytes())))  # fmt: skip
def edited_deepspeed_files(content: bytes, folder: Path) -> None:
    (folder / "ds.json").write_bytes(content)
    deepspeed_config(folder / "ds.json", dtype_for())


@reads(edited(as_bytes({"learning_rate": 1e-5, "max_length": 60, "dataset": "d", "max_steps": 3, "keep": "last"})))
def edited_arguments(content: bytes, folder: Path) -> None:
    (folder / "run.json").write_bytes(content)
    parse_arguments(SFTArguments, [str(folder / "run.json")])


INDEX = {"metadata": {}, "weight_map": dict.fromkeys(load_causal_lm(MODEL).state_dict(), "model.safetensors")}


@reads(edited(as_bytes(INDEX)))
def edited_indices(content: bytes, folder: Path) -> None:
    for path in MODEL.iterdir():
        name = "model-1.safetensors" if path.name == "model.safetensors" else path.name
        (folder / name).symlink_to(path)
    text = content.replace(b'"model.safetensors"', b'"model-1.safetensors"')
    (folder / "model.safetensors.index.json").write_bytes(text)
    load_causal_lm(folder)


def adapter() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="adapter-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    peft.get_peft_model(load_causal_lm(MODEL), peft.LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(folder)
    return folder


ADAPTER = adapter()


@reads(edited((ADAPTER / "adapter_config.json").read_bytes()))
def edited_adapters(content: bytes, folder: Path) -> None:
    (folder / "adapter_model.safetensors").symlink_to(ADAPTER / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_bytes(content)
    load_causal_lm(folder)


def reward_model() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rm-"))
    RewardModel.from_causal_lm(MODEL).save(folder)
    TOKENIZER.save_pretrained(folder)
    save_run(folder, RECORD | {"stage": "rm"})
    return folder


RM = reward_model()


@reads(edited((RM / "config.json").read_bytes()))
def edited_reward_models(content: bytes, folder: Path) -> None:
    for path in RM.iterdir():
        (folder / path.name).symlink_to(path)
    for name in ("config.json", "run.json"):
        (folder / name).unlink()
    (folder / "config.json").write_bytes(content)
    Scorer.from_pretrained(folder, max_length=60).score(["POST: a cat"], ["a cat"])


@reads(edited(as_bytes({"sha256": "0", "value": {"a": 1.0}})))
def edited_kept_values(content: bytes, folder: Path) -> None:
    kept.record_of(folder / "x").write_bytes(content)
    assert kept.read_value(folder / "x") is None


def in_a_model(file: str) -> Callable[[str, Path], None]:
    """Reads a model directory with something else at the place of one file."""

    def reader(kind: str, folder: Path) -> None:
        place(kind, linked(folder, file, b"") / file)
        check_model(folder, read_causal_lm)
        check_handover(folder, expects_stage="sft", tokenizer=TOKENIZER)

    reader.__name__ = f"special_{file}"
    return reader


for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
    reads(st.sampled_from(SPECIAL))(in_a_model(name))


@reads(st.sampled_from(SPECIAL))
def special_records(kind: str, folder: Path) -> None:
    place(kind, folder / "run.json")
    check_handover(folder, expects_stage="sft", tokenizer=TOKENIZER)


@reads(st.tuples(st.sampled_from(SPECIAL), st.sampled_from(["jsonl", "json", "parquet"])))
def special_rows(given: tuple[str, str], folder: Path) -> None:
    place(given[0], folder / f"train.{given[1]}")
    load_rows(folder, "train", ["prompt", "label"])


@reads(st.sampled_from(SPECIAL))
def special_arguments(kind: str, folder: Path) -> None:
    place(kind, folder / "run.yaml")
    parse_arguments(SFTArguments, [str(folder / "run.yaml")])


@reads(st.sampled_from(SPECIAL))
def special_deepspeed_files(kind: str, folder: Path) -> None:
    place(kind, folder / "ds.json")
    deepspeed_config(folder / "ds.json", dtype_for())


@reads(st.sampled_from(SPECIAL))
def special_checkpoints(kind: str, folder: Path) -> None:
    """A checkpoint's name for something that is none."""
    place(kind, folder / "checkpoint-3")
    find(folder, {"seed": 1}, frozenset(), fresh=False)
    find(folder, {"seed": 1}, frozenset(), fresh=True)


__all__ = ["ALL"]
