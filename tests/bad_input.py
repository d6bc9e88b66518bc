"""Inputs that are wrong, for each stage, and what the one line of error says; test_bad_input.py tries them."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from launch import flags
from safetensors.torch import load_file, save_file
from tiny import comparison_row, make_tokenizer, tldr_row, write_rows
from transformers import T5Config, T5ForConditionalGeneration

from reward_model.reward_model import RewardModel
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.run.files import write_directory
from summarize_rlhf.tokenizer import load_tokenizer

Values = dict[str, Any]
Fault = Callable[["World", Path], Values]


class World:
    """Good inputs of all stages, to be spoilt one at a time."""

    def __init__(self, folder: Path, model: Path, tldr: Path, pairs: Path):
        self.sft, self.rm, self.tldr, self.pairs = folder / "sft", folder / "rm", tldr, pairs
        shutil.copytree(model, self.sft)
        tokenizer = load_tokenizer(model)
        save_run(self.sft, run_record("sft", {}, tokenizer, 0, 120, {}))
        with write_directory(self.rm) as tmp:
            RewardModel.from_causal_lm(model).save(tmp)
            tokenizer.save_pretrained(tmp)
            save_run(tmp, run_record("rm", {}, tokenizer, 0, 120, {}))

    def values(self, stage: str, out: Path) -> Values:
        common = {"max_length": 120, "global_batch_size": 8, "per_device_train_batch_size": 4, "report_to": "none"}
        if stage == "sft":
            return {"model": self.sft, "dataset": self.tldr, "output_dir": out / "out", **common}
        if stage == "rm":
            return {"model": self.sft, "dataset": self.pairs, "output_dir": out / "out", **common}
        return {
            "model": self.sft, "reward_model": self.rm, "dataset": self.tldr, "output_dir": out / "out",
            "train.seq_length": 120, "method.gen_kwargs.max_new_tokens": 12, "train.tracker": None,
        }  # fmt: skip


PPO_NAMES = {"model": "model.model_path", "reward_model": "task.reward_model", "dataset": "task.dataset"}
PPO_NAMES |= {"output_dir": "train.checkpoint_dir", "tokenizer": "tokenizer.tokenizer_path"}


def arguments(stage: str, values: Values) -> list[str]:
    if stage != "ppo":
        return flags(values)
    named = {PPO_NAMES.get(name, name): str(x) if isinstance(x, Path) else x for name, x in values.items()}
    return [json.dumps(named)]


# ------------------------------------------------------------------------ data

ROWS = {
    "sft": lambda: [tldr_row(random.Random(i)) for i in range(16)],
    "rm": lambda: [comparison_row(random.Random(i)) for i in range(16)],
}
ROWS["ppo"] = ROWS["sft"]
COLUMN = {"sft": "label", "rm": "rejected", "ppo": "label"}


def data(spoil: Callable[[list[dict], str], bytes | list]) -> Callable[[str], Fault]:
    """A fault of the training rows: `spoil(rows, column)` gives rows, or the bytes of the file."""

    def of(stage: str) -> Fault:
        def fault(_world: World, tmp: Path) -> Values:
            spoilt = spoil(ROWS[stage](), COLUMN[stage])
            for split in ("train", "valid", "test"):
                write_rows(tmp / f"{split}.jsonl", ROWS[stage]())
            if isinstance(spoilt, bytes):
                (tmp / "train.jsonl").write_bytes(spoilt)
            else:
                write_rows(tmp / "train.jsonl", spoilt)
            return {"dataset": tmp}

        return fault

    return of


def lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def third(rows: list[dict], **changes: Any) -> list[dict]:
    return [*rows[:2], rows[2] | changes, *rows[3:]]


DATA = {
    "no column": (
        data(lambda rows, c: [{k: v for k, v in r.items() if k != c} for r in rows]),
        "row 1: no column '{c}'",
    ),
    "empty cell": (data(lambda rows, c: third(rows, **{c: " \n"})), "row 3: column '{c}' is empty; fill it in"),
    "a number": (data(lambda rows, c: third(rows, **{c: 7})), "row 3: column '{c}' should be text, but is int"),
    "half a character": (
        data(lambda rows, c: third(rows, **{c: "\ud83d"})),
        "column '{c}' holds half a character at 0",
    ),
    "a list": (data(lambda rows, c: third(rows, **{c: ["a"]})), "row 3: column '{c}' should be text, but is list"),
    "not UTF-8": (
        data(lambda rows, c: lines(rows) + b'{"prompt": "\xff\xfe"}\n'),
        "not UTF-8 text (invalid start byte",
    ),
    "cut off": (data(lambda rows, c: lines(rows)[:-30]), "row 16: no valid JSON"),
    "no rows": (data(lambda rows, c: b""), "train.jsonl has no rows"),
    "no objects": (data(lambda rows, c: b"[1, 2]"), "row 1: expected an object with columns, found int"),
}
SUMMARIES = {
    "no TL;DR": (data(lambda rows, c: third(rows, prompt="POST: x")), "the prompt should end with 'TL;DR:'"),
    "no room": (data(lambda rows, c: third(rows, label="money " * 200)), "a summary needs"),
}


def same(rows: list[dict], _column: str) -> list[dict]:
    return [row | {"rejected": row["chosen"]} for row in rows]


PAIRS = {"only equal pairs": (data(same), "no usable pair among 16 rows: 16 with equal summaries")}

# ---------------------------------------------------------------------- models


def copied(change: Callable[[Path], None]) -> Fault:
    """The SFT directory with something wrong in it."""

    def fault(world: World, tmp: Path) -> Values:
        shutil.copytree(world.sft, tmp / "model")
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


MODELS = {
    "truncated safetensors": (copied(truncate), "damaged weights"),
    "a key missing": (
        copied(edit_weights(lambda w: {k: w[k] for k in w if k != "lm_head.bias"})),
        "missing: lm_head.bias",
    ),
    "a key too many": (copied(edit_weights(lambda w: w | {"odd": torch.zeros(1)})), "1 not part of the model: odd"),
    "another shape": (
        copied(edit_weights(lambda w: w | {"lm_head.bias": torch.zeros(3)})),
        "of another shape: lm_head.bias",
    ),
    "quantised": (
        copied(edit_weights(lambda w: w | {"lm_head.weight": w["lm_head.weight"].to(torch.int8)})),
        "holds weights of type I8: a quantised checkpoint cannot be trained",
    ),
    "a pickle with code": (copied(pickle_with_code), "a pickle that holds more than tensors"),
    "an encoder-decoder": (copied(encoder_decoder), "no causal language model that transformers can load"),
    "no config": (copied(lambda m: (m / "config.json").unlink()), "holds no whole model"),
    "a config of nothing": (copied(lambda m: (m / "config.json").write_text("{}")), "no causal language model"),
    "no tokenizer": (copied(without_tokenizer), "no usable tokenizer in"),
    "no EOS": (copied(without_eos), "has no EOS token; a summary could never end"),
    "a vocabulary too large": (copied(bigger_tokenizer), "they do not belong together|trained with another tokenizer"),
    "not there": (lambda world, tmp: {"model": tmp / "none"}, "does not exist"),
}
HANDED_OVER = {  # what stages 2 and 3 get from stage 1
    "of another stage": (copied(other_stage), "holds a checkpoint of stage 'rm'"),
    "a damaged run.json": (copied(lambda m: (m / "run.json").write_text("{")), "run.json is no valid JSON"),
}

# --------------------------------------------------------------- configurations


def somebodys_files(_world: World, tmp: Path) -> Values:
    (tmp / "out").mkdir()
    (tmp / "out" / "thesis.tex").write_text("years of work")
    return {}


def under_a_file(_world: World, tmp: Path) -> Values:
    (tmp / "file").write_text("x")
    return {"output_dir": tmp / "file" / "out"}


CONFIGS = {
    "a typo": (lambda *_: {"lerning_rate": 1}, "unknown argument --lerning_rate; did you mean --learning_rate?"),
    "no batch": (lambda *_: {"global_batch_size": 0}, "--global_batch_size is 0: it should be at least 1"),
    "a rate that is no number": (lambda *_: {"learning_rate": "nan"}, "--learning_rate is nan: a finite number"),
    "an impossible batch": (
        lambda *_: {"per_device_train_batch_size": 3},
        "a global batch of 8 cannot be made of 1 process(es) × 3 rows",
    ),
    "longer than the model reads": (lambda *_: {"max_length": 1000}, "max_length is 1000 tokens, but the model"),
    "somebody's files": (somebodys_files, "holds files that no stage wrote"),
    "a directory in a file": (under_a_file, "Not a directory|cannot write"),
    "no DeepSpeed file": (lambda *_: {"deepspeed_config": "none.json"}, "cannot read the DeepSpeed file"),
}
OVERRIDES = {
    "a typo": (
        lambda *_: {"train.batchsize": 8},
        "The override 'train.batchsize' names no option. Did you mean 'batch_size'?",
    ),
    "a typo in a task": (lambda *_: {"task.data": "x"}, "the override 'task.data' names no option"),
    "another method": (lambda *_: {"method.name": "ILQLConfig"}, "ILQL is not part of this engine"),
    "no such scale": (
        lambda *_: {"method.scale_reward": "sd"},
        "method.scale_reward 'sd': use None, 'running' or 'ref'",
    ),
    "text for a number": (
        lambda *_: {"train.batch_size": "x"},
        "TrainConfig.batch_size should be a whole number, but is 'x'",
    ),
    "no batch": (lambda *_: {"train.batch_size": 0}, "train.batch_size is 0: it should be at least 1"),
    "no rows": (lambda *_: {"task.max_eval_prompts": 0}, "task.max_eval_prompts is 0: it should be at least 1"),
    "no room for a prompt": (lambda *_: {"train.seq_length": 12}, "train.seq_length 12 leaves no token for a prompt"),
    "a beta above 1": (
        lambda *_: {"optimizer.kwargs.betas": [2, 0.9]},
        "optimizer.kwargs or scheduler.kwargs do not fit",
    ),
    "no such guard": (lambda *_: {"train.guards": {"kll": 1}}, "train.guards has no option 'kll'"),
    "no reward model": (lambda world, tmp: {"reward_model": tmp / "none"}, "no reward model at"),
}

TABLE: list[tuple[str, str, Fault, str]] = []
for stage in ("sft", "rm", "ppo"):
    rows = {**DATA, **(PAIRS if stage == "rm" else SUMMARIES)}
    TABLE += [(stage, name, of(stage), told.format(c=COLUMN[stage])) for name, (of, told) in rows.items()]
    known = MODELS if stage == "sft" else MODELS | HANDED_OVER
    TABLE += [(stage, name, fault, told) for name, (fault, told) in known.items()]
    settings = OVERRIDES if stage == "ppo" else CONFIGS
    TABLE += [(stage, name, fault, told) for name, (fault, told) in settings.items()]
