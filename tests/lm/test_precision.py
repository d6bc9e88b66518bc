"""The precision that is chosen, on each kind of hardware."""

import csv
import itertools
import json
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from good_input import World
from launch import flags
from tiny_trlx import tiny_config

import trlx_gptj_text_summarization as stage_3
from reward_model import gptj_reward_test as reward_test
from summarize_rlhf import UserError
from summarize_rlhf.lm.precision import PRECISIONS, dtype_for, training_dtype
from trlx.data.checks import check_config

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def pretend(monkeypatch, gpu: str | None) -> None:
    """A machine with a GPU that has bf16 ("new") or would emulate it ("old"), or with none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or gpu == "new"
    )


@pytest.mark.parametrize(
    ("gpu", "chosen"),
    [
        ("new", {"auto": BF16, "bf16": BF16, "fp16": FP16, "fp32": FP32}),
        ("old", {"auto": FP16, "bf16": None, "fp16": FP16, "fp32": FP32}),
        (None, {"auto": FP32, "bf16": BF16, "fp16": None, "fp32": FP32}),
    ],
)
def test_what_is_trained_in(monkeypatch, gpu, chosen):
    pretend(monkeypatch, gpu)
    assert list(chosen) == PRECISIONS
    for precision, dtype in chosen.items():
        if dtype is not None:
            assert training_dtype(precision) == dtype
            continue
        told = "this GPU has none" if gpu else "in which no CPU trains"
        with pytest.raises(UserError, match=f"precision is {precision}.*{told}.*: take"):
            training_dtype(precision)


def test_what_is_only_run_may_be_fp16_on_any_device(monkeypatch):
    """The reward model of PPO may stand on a CPU or GPU of its own."""
    pretend(monkeypatch, None)
    assert dtype_for("cpu", "fp16") == FP16
    pretend(monkeypatch, "new")
    assert dtype_for("cpu") == FP32
    assert dtype_for("cuda:1") == BF16


@pytest.mark.parametrize(
    ("gpu", "precision", "dtype"), [(None, "auto", FP32), ("new", "auto", FP16), ("new", "bf16", BF16)]
)
def test_the_reward_test_takes_the_published_fp16_on_a_gpu(monkeypatch, tmp_path, gpu, precision, dtype):
    pretend(monkeypatch, gpu)
    found = {}

    def load(path, **options):
        found.update(options)
        raise UserError("enough")

    monkeypatch.setattr(reward_test.Scorer, "from_pretrained", load)
    monkeypatch.setattr("sys.argv", ["x", "--precision", precision, "--model", "m", "--output_dir", str(tmp_path)])
    monkeypatch.setattr(reward_test, "check_found", lambda *_: None)
    with pytest.raises(SystemExit):
        reward_test.main()
    assert (found["dtype"], found["device"]) == (dtype, "cuda" if gpu else "cpu")


class Enough(Exception):
    """What is watched has been seen."""


def test_ppo_scores_in_its_own_precision(monkeypatch, tmp_path):
    """On a device of its own, too; "auto" is that device's."""
    for gpu, precision, dtype in (
        (None, "auto", FP32),
        (None, "bf16", BF16),
        ("new", "auto", BF16),
        ("new", "fp16", FP16),
    ):
        pretend(monkeypatch, gpu)
        state = SimpleNamespace(
            is_main_process=False, num_processes=1, device=torch.device("cuda", 0) if gpu else "cpu"
        )
        state.device = torch.device(state.device)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        found = mock.Mock(side_effect=Enough)
        monkeypatch.setattr(stage_3.Scorer, "from_pretrained", found)
        for name in ("tune_process", "check_found", "check_fits", "card_lines", "hold_run_directory"):
            monkeypatch.setattr(stage_3, name, lambda *_: None)
        monkeypatch.setattr(stage_3, "load_tokenizer", lambda _: None)
        monkeypatch.setattr(stage_3, "join_processes", lambda state=state: state)
        overrides = {"train.precision": precision, "train.checkpoint_dir": str(tmp_path), "model.model_path": "m"}
        monkeypatch.setattr("sys.argv", ["x", json.dumps(overrides)])
        with pytest.raises(Enough):
            stage_3.main.__wrapped__()
        given = found.call_args.kwargs
        assert (given["dtype"], str(given["device"])) == (dtype, "cuda:1" if gpu else "cpu")


def test_a_file_is_scored_in_a_precision(server, world, tmp_path):
    rows = [{"prompt": "POST: my cat moved", "summary": "cat"}, {"prompt": "POST: so", "summary": "found money"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = {}
    for precision in ("fp32", "bf16", "fp16"):
        values = {"reward_model": world.rm, "input": tmp_path / "in.jsonl", "output": tmp_path / f"{precision}.jsonl"}
        ended = server.run("score", flags(values | {"precision": precision}), tmp_path)
        assert ended.code == 0, ended.err[-3000:]
        lines = (tmp_path / f"{precision}.jsonl").read_text().splitlines()
        scores[precision] = torch.tensor([json.loads(line)["score"] for line in lines])
    for precision, most in (("bf16", 0.03), ("fp16", 0.003)):
        assert not torch.equal(scores[precision], scores["fp32"])
        torch.testing.assert_close(scores[precision], scores["fp32"], rtol=0, atol=most)


def test_ppo_is_told_before_anything_is_loaded(monkeypatch, tmp_path):
    pretend(monkeypatch, None)
    for precision, told in (("fp16", "in which no CPU trains"), ("BF16", "'BF16': use auto, bf16, fp16, fp32")):
        with pytest.raises((UserError, ValueError), match=told):
            check_config(tiny_config(tmp_path, tmp_path, train__precision=precision))
    check_config(tiny_config(tmp_path, tmp_path, train__precision="bf16"))


@pytest.fixture(scope="module")
def world(tmp_path_factory, gptj_dir, tldr_dir, comparisons_dir) -> World:
    return World(tmp_path_factory.mktemp("world"), gptj_dir, tldr_dir, comparisons_dir)


def test_the_tables_and_the_reward_test_run_in_bf16_and_fp16(server, world, tmp_path):
    """On a CPU, too: nothing is trained there. The scores are those of fp32 to the rounding."""
    found = {}
    for precision in ("fp32", "bf16", "fp16"):
        out = tmp_path / precision
        tables = {"sft_model": world.sft, "ppo_model": world.sft, "dataset": world.tldr, "output_dir": out / "tables"}
        tables |= {"reward_model": world.rm, "max_length": 100, "max_new_tokens": 8, "max_rows": 4}
        scored = {"reward_model": world.rm, "dataset": world.pairs, "output_dir": out / "scores"}
        for script, values in (("tables", tables), ("reward_test", scored)):
            ended = server.run(script, flags(values | {"precision": precision}), tmp_path)
            assert ended.code == 0, ended.err[-3000:]
        columns = (("scores/reward_test.csv", "chosen_score"), ("tables/sft_greedy.csv", "label_reward"))
        for name, column in columns:
            with (out / name).open(encoding="utf-8") as file:
                found[precision, name] = torch.tensor([float(row[column]) for row in csv.DictReader(file)])
    for (precision, most), (name, _) in itertools.product((("bf16", 0.03), ("fp16", 0.003)), columns):
        assert not torch.equal(found[precision, name], found["fp32", name])
        torch.testing.assert_close(found[precision, name], found["fp32", name], rtol=0, atol=most)
