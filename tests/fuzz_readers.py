"""Each reader of files and arguments, and the inputs that it is tried with."""

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow
import pyarrow.parquet
from fuzz_inputs import as_json, records, spoilt, texts, values
from hypothesis import strategies as st
from tiny import make_model_dir, make_tokenizer

import trlx_gptj_text_summarization as stage_3
from reward_model import label_scores
from reward_model.comparisons import COLUMNS, encode_comparisons, usable_comparisons
from reward_model.train_reward_model_gptj import RewardArguments
from sft.summarize_dataset import TLDRDataset
from sft.train_gptj_summarize import SFTArguments
from summarize_rlhf.data import load_rows
from summarize_rlhf.handover import check_handover, run_record
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.run import deepspeed_config, launch
from summarize_rlhf.run.arguments import parse_arguments
from summarize_rlhf.run.checkpoints import MANIFEST, find, signed, write_checkpoint
from summarize_rlhf.tokenizer import load_tokenizer

ALL: dict[str, tuple[st.SearchStrategy, Callable[[Any, Path], None]]] = {}


def reads(strategy: st.SearchStrategy) -> Callable:
    """Registers a reader; it gets an input and an empty folder."""

    def register(reader: Callable[[Any, Path], None]) -> Callable:
        ALL[reader.__name__] = (strategy, reader)
        return reader

    return register


@reads(
    st.binary(max_size=80) | records(("prompt", "label")).map(as_json) | spoilt(b'{"prompt": "a", "label": "b"}\n' * 3)
)
def rows_of_bytes(content: bytes, folder: Path) -> None:
    (folder / "train.jsonl").write_bytes(content)
    load_rows(folder, "train", ["prompt", "label"])


def parquet() -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["a", "b"], "label": ["c", "d"]}), sink)
    return sink.getvalue()


@reads(spoilt(parquet()))
def rows_of_parquet(content: bytes, folder: Path) -> None:
    (folder / "train.parquet").write_bytes(content)
    load_rows(folder, "train", ["prompt", "label"])


TOKENIZER = make_tokenizer()
TOKENIZER.pad_token = TOKENIZER.eos_token


@reads(records(("prompt", "label")))
def tldr_rows(rows: list, folder: Path) -> None:
    write_json_rows(folder / "train.jsonl", rows)
    data = TLDRDataset(load_rows(folder, "train", ["prompt", "label"]), TOKENIZER, 60)
    for row in data:
        assert len(row["input_ids"]) == len(row["labels"]) <= 60


@reads(records(COLUMNS))
def pairs(rows: list, folder: Path) -> None:
    write_json_rows(folder / "train.jsonl", rows)
    kept, _ = usable_comparisons(load_rows(folder, "train", list(COLUMNS)))
    for pair in encode_comparisons(kept, TOKENIZER, 60, show_progress=False):
        assert max(len(pair["chosen_ids"]), len(pair["rejected_ids"])) <= 60


def write_json_rows(path: Path, rows: list) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def argument_files(kind: type) -> st.SearchStrategy[bytes]:
    names = st.sampled_from(sorted(kind.__dataclass_fields__)) | st.text(max_size=8)
    return st.dictionaries(names, values, max_size=4).map(as_json) | st.binary(max_size=40) | values.map(as_json)


def on_this_machine(args: SFTArguments | RewardArguments) -> None:
    """What a stage makes of its arguments before it loads anything."""
    launch.accumulation(args.global_batch_size, args.per_device_train_batch_size, 1)
    deepspeed_config.deepspeed_config(args.deepspeed_config, dtype_for())


@reads(argument_files(SFTArguments))
def sft_argument_file(content: bytes, folder: Path) -> None:
    (folder / "run.yaml").write_bytes(content)
    on_this_machine(parse_arguments(SFTArguments, [str(folder / "run.yaml")]))


@reads(argument_files(RewardArguments))
def rm_argument_file(content: bytes, folder: Path) -> None:
    (folder / "run.json").write_bytes(content)
    on_this_machine(parse_arguments(RewardArguments, [str(folder / "run.json")]))


flag_names = st.sampled_from([f"--{name}" for name in SFTArguments.__dataclass_fields__])


@reads(st.lists(flag_names | st.text(max_size=8) | st.integers().map(str) | st.floats().map(str), max_size=5))
def sft_flags(words: list[str], folder: Path) -> None:
    if "--help" not in words and "-h" not in words:
        on_this_machine(parse_arguments(SFTArguments, words))


def dotted_names() -> st.SearchStrategy[str]:
    known = [f"{section}.{name}" for section, options in stage_3.config.to_dict().items() for name in options]
    kwargs = ["optimizer.kwargs.lr", "optimizer.kwargs.betas", "scheduler.kwargs.T_max", "train.guards.kl"]
    kwargs += ["method.gen_kwargs.max_new_tokens", "method.gen_kwargs.top_k", "task.dataset", "task.max_eval_prompts"]
    sections = list(stage_3.config.to_dict())
    return st.sampled_from([*known, *kwargs, *sections, "task"]) | st.text(max_size=10)


@reads(st.dictionaries(dotted_names(), values, max_size=3).map(json.dumps) | values.map(json.dumps) | texts)
def ppo_overrides(argument: str, folder: Path) -> None:
    with mock.patch.object(sys, "argv", ["stage", "--", argument]), contextlib.chdir(folder):
        stage_3.configure()


def marker() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with write_checkpoint(Path(folder) / "checkpoint-1", {"seed": 1}) as tmp:
            (tmp / "state.json").write_text("{}")
        return (Path(folder) / "checkpoint-1" / MANIFEST).read_bytes()


described = st.fixed_dictionaries({"settings": values, "files": values | st.dictionaries(st.text(max_size=5), values)})


@reads(spoilt(marker()) | described.map(signed).map(as_json) | values.map(as_json) | st.binary(max_size=30))
def checkpoint_markers(content: bytes, folder: Path) -> None:
    path = folder / "checkpoint-1"
    path.mkdir()
    (path / "state.json").write_text("{}")
    (path / MANIFEST).write_bytes(content)
    find(folder, {"seed": 1}, frozenset(), fresh=False)


RECORD = run_record("sft", {}, TOKENIZER, 0, 60, {})
changed_records = st.dictionaries(st.sampled_from(sorted(RECORD)), values, max_size=2).map(lambda new: RECORD | new)


@reads(spoilt(as_json(RECORD)) | changed_records.map(as_json) | values.map(as_json))
def run_records(content: bytes, folder: Path) -> None:
    (folder / "run.json").write_bytes(content)
    check_handover(folder, expects_stage="sft", tokenizer=TOKENIZER)


@reads(values.map(as_json) | spoilt(as_json({"reward_model": "j", "scores": {"a": 1.0}})))
def reference_files(content: bytes, folder: Path) -> None:
    (folder / "scores.json").write_bytes(content)
    for score in label_scores.read(folder / "scores.json", "j").values():
        assert isinstance(score, float)


MODEL = make_model_dir(Path(tempfile.mkdtemp(prefix="model-")))
HEAD, TAIL = (MODEL / "config.json").read_bytes()[:60], (MODEL / "config.json").read_bytes()[60:]
CONFIG = json.loads((MODEL / "config.json").read_text())

# Whole numbers stay small: a model of 10^30 layers is no error, it only takes its time.
sized = values.map(lambda x: x % 50 if isinstance(x, int | float) and not isinstance(x, bool) else x)
changed_configs = st.dictionaries(st.sampled_from(sorted(CONFIG)), sized, max_size=2).map(lambda new: CONFIG | new)


def linked(folder: Path, file: str, content: bytes) -> Path:
    """The model directory with another file in one place."""
    for path in MODEL.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / file).unlink()
    (folder / file).write_bytes(content)
    return folder


@reads(changed_configs.map(as_json) | spoilt(HEAD).map(lambda head: head + TAIL) | values.map(as_json))
def model_configs(content: bytes, folder: Path) -> None:
    load_causal_lm(linked(folder, "config.json", content))


@reads(spoilt((MODEL / "model.safetensors").read_bytes()[:2000]))
def weight_files(head: bytes, folder: Path) -> None:
    load_causal_lm(linked(folder, "model.safetensors", head + (MODEL / "model.safetensors").read_bytes()[2000:]))


@reads(spoilt((MODEL / "tokenizer.json").read_bytes()))
def tokenizers(content: bytes, folder: Path) -> None:
    load_tokenizer(linked(folder, "tokenizer.json", content))


@reads(spoilt((MODEL / "tokenizer_config.json").read_bytes()) | values.map(as_json))
def tokenizer_configs(content: bytes, folder: Path) -> None:
    load_tokenizer(linked(folder, "tokenizer_config.json", content))
