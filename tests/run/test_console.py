"""A console never decides whether a result is kept: one that is ASCII alone, whose reader goes away, or none at all."""

import ast
import json
import random
import sys
from pathlib import Path

import pytest
from import_all import files
from launch import flags, run
from tiny import make_model_dir, tldr_row, write_rows

from reward_model.reward_model import RewardModel
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.tokenizer import load_tokenizer

SMILE = "\U0001f431"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """`sft`, `rm` and `tldr`, whose posts and references hold an emoji."""
    folder, rng = tmp_path_factory.mktemp("inputs"), random.Random(0)
    make_model_dir(folder / "sft")
    tokenizer = load_tokenizer(folder / "sft")
    save_run(folder / "sft", run_record("sft", {}, tokenizer, 0, 120, {}))
    (folder / "rm").mkdir()
    RewardModel.from_causal_lm(folder / "sft").save(folder / "rm")
    tokenizer.save_pretrained(folder / "rm")
    save_run(folder / "rm", run_record("rm", {}, tokenizer, 0, 120, {}))
    rows = [tldr_row(rng, words=8) for _ in range(8)]
    for row in rows:
        row["prompt"] = row["prompt"].replace("\nTL;DR:", f" {SMILE}\nTL;DR:")
        row["label"] += f" {SMILE}é"
    for split in ("train", "valid", "test"):
        write_rows(folder / "tldr" / f"{split}.jsonl", rows)
    return folder


def arguments(stage: str, inputs: Path, out: Path) -> list[str]:
    common = {"dataset": inputs / "tldr", "max_length": 120, "max_new_tokens": 4, "output_dir": out}
    if stage == "sft":
        small = {"global_batch_size": 8, "per_device_train_batch_size": 8, "num_train_epochs": 1, "report_to": "none"}
        return flags(common | small | {"model": inputs / "sft"})
    if stage == "tables":
        models = {"sft_model": inputs / "sft", "ppo_model": inputs / "sft", "reward_model": inputs / "rm"}
        return flags(common | models)
    values = {
        "model.model_path": inputs / "sft", "task.reward_model": inputs / "rm", "task.dataset": inputs / "tldr",
        "train.checkpoint_dir": out, "train.tracker": None, "train.seq_length": 120, "train.epochs": 1,
        "method.num_rollouts": 8, "method.ppo_epochs": 1, "method.gen_kwargs.max_new_tokens": 4,
    }  # fmt: skip
    return [json.dumps(values, default=str)]


SCRIPTS = {
    "sft": "sft/train_gptj_summarize.py",
    "tables": "trlx_inference_gptj.py",
    "ppo": "trlx_gptj_text_summarization.py",
}
RESULT = {
    "sft": "model.safetensors",
    "tables": "inference.json",
    "ppo": "best_checkpoint/hf_model/model.safetensors",
}


@pytest.mark.parametrize("stage", RESULT)
def test_a_console_that_is_ascii_alone(stage, server, inputs, tmp_path) -> None:
    ended = server.run(stage, arguments(stage, inputs, tmp_path / "out"), tmp_path, encoding="ascii")
    assert ended.code == 0, ended.err[-3000:]
    assert (tmp_path / "out" / RESULT[stage]).is_file()
    assert ended.out.isascii()
    assert r"\U0001f431" in ended.out  # of the samples that are shown


@pytest.mark.parametrize(
    ("stage", "console"),
    [("sft", "| head -c 1"), ("tables", "2>&1 | head -c 1"), ("ppo", ">/dev/full 2>&1"), ("ppo", ">&- 2>&-")],
)
def test_a_console_that_goes_away(stage, console, inputs, root, tmp_path) -> None:
    """A reader that leaves after one byte; a full disk; closed from the start. The exit code is that of the script."""
    script = f'"$@" {console}; exit ${{PIPESTATUS[0]}}'
    command = ["bash", "-c", script, "bash", sys.executable, root / SCRIPTS[stage]]
    done = run([*command, *arguments(stage, inputs, tmp_path / "out")], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / RESULT[stage]).is_file()


def test_every_text_file_is_opened_as_utf8(root) -> None:
    """By name: the default is the console's locale, which on Windows is cp1252."""
    bare = []
    for file in files():
        for call in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and not any(k.arg == "encoding" for k in call.keywords):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
                if owner == "os" or "opener" in owner:  # no text file
                    continue
                words = [x.value for a in call.args for x in ast.walk(a) if isinstance(x, ast.Constant)]
                binary = any(word in ("rb", "wb", "ab", "r+b") for word in words)
                if name in ("read_text", "write_text") or (name == "open" and not binary):
                    bare.append(f"{file}:{call.lineno}")
    assert bare == []
