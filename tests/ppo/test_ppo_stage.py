"""Stage 3 and the tables as a user runs them: the documented commands, through the real launcher."""

import csv
import json
import math
import subprocess
from pathlib import Path

import pytest
import torch
from launch import BIN, flags, python, run
from safetensors.torch import load_file
from tiny import make_model_dir
from transformers import AutoModelForCausalLM

from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.run.files import write_directory
from summarize_rlhf.run.run_directory import MARKER
from summarize_rlhf.tokenizer import load_tokenizer

HF_MODEL = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "run.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "value_head.safetensors",
}


def make_reward_model(directory: Path, sft: Path, tokenizer=None) -> Path:
    """A reward model as stage 2 writes it, its head scaled so that scores differ clearly."""
    model = RewardModel.from_causal_lm(sft)
    torch.nn.init.normal_(model.v_head.weight)
    tokenizer = tokenizer or load_tokenizer(sft)
    with write_directory(directory) as tmp:
        model.save(tmp)
        tokenizer.save_pretrained(tmp)
        save_run(tmp, run_record("rm", {}, tokenizer, 0, 150, {}))
    return directory


@pytest.fixture(scope="module")
def sft_dir(tmp_path_factory) -> Path:
    """A directory as stage 1 writes it, untrained."""
    directory = make_model_dir(tmp_path_factory.mktemp("stage1"))
    save_run(directory, run_record("sft", {}, load_tokenizer(directory), 0, 120, {}))
    return directory


@pytest.fixture(scope="module")
def reward_dir(sft_dir, tmp_path_factory) -> Path:
    return make_reward_model(tmp_path_factory.mktemp("stage2") / "rm", sft_dir)


def overrides(model: Path, reward_model: Path, dataset: Path, out: Path, **more) -> dict:
    return {
        "model.model_path": str(model),
        "task.reward_model": str(reward_model),
        "task.dataset": str(dataset),
        "task.max_train_prompts": 24,
        "train.checkpoint_dir": str(out),
        "train.tracker": None,
        "train.seq_length": 120,
        "train.epochs": 2,
        "train.eval_interval": 32,
        "method.num_rollouts": 16,
        "method.gen_kwargs.max_new_tokens": 12,
        "optimizer.kwargs.lr": 1e-2,
        **more,
    }


def accelerate(values: dict, root: Path, *flags: str) -> subprocess.CompletedProcess:
    """The documented command, but for a port of its own; `flags` go to the launcher."""
    command = [BIN / "accelerate", "launch", "--config_file", "configs/default_accelerate_config.yaml"]
    command += ["--main_process_port", "0", *flags, "trlx_gptj_text_summarization.py", json.dumps(values)]
    return run(command, root, DS_ACCELERATOR="cpu")


@pytest.fixture(scope="module")
def trained(sft_dir, reward_dir, tldr_dir, root, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A run of two collections by the documented command, and what it printed."""
    out = tmp_path_factory.mktemp("stage3") / "ckpts"
    done = accelerate(overrides(sft_dir, reward_dir, tldr_dir, out), root)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done


def test_writes_exactly_these_files(trained):
    out, _ = trained
    # 2 collections × 4 PPO epochs × 16 rollouts in batches of 4 are 32 batches
    files = {"best_checkpoint", "checkpoint_32", "metrics.jsonl", "label_scores.kept.json", "samples.jsonl", MARKER}
    assert {p.name for p in out.iterdir()} == files
    for name in ("best_checkpoint", "checkpoint_32"):
        assert {p.name for p in (out / name / "hf_model").iterdir()} == HF_MODEL
        assert {*json.loads((out / name / "hf_model/run.json").read_text())["files"], "run.json"} == HF_MODEL


def test_console_has_no_warning_of_ours(trained):
    _, done = trained
    assert "warning" not in (done.stdout + done.stderr).lower()
    assert "\ndoctor: PPO " in done.stdout


def test_checkpoint_is_the_sft_model_with_the_top_blocks_trained(trained, sft_dir):
    """8 unfrozen blocks of 2 are both blocks; embeddings, final norm and output embeddings stay, bit for bit."""
    before = AutoModelForCausalLM.from_pretrained(sft_dir).state_dict()
    after = AutoModelForCausalLM.from_pretrained(trained[0] / "checkpoint_32/hf_model").state_dict()
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if key.startswith("transformer.h.")}


def test_value_head_lies_beside_the_weights(trained):
    head = load_file(trained[0] / "checkpoint_32/hf_model/value_head.safetensors")
    assert {key: tuple(value.shape) for key, value in head.items()} == {
        "0.weight": (64, 32),
        "0.bias": (64,),
        "2.weight": (1, 64),
        "2.bias": (1,),
    }


def test_reward_is_the_sample_less_its_own_label(trained, reward_dir, tldr_dir):
    """Scores an evaluation's samples again, one by one, from the file."""
    rows = [json.loads(line) for line in (tldr_dir / "valid.jsonl").read_text().splitlines()]
    samples = [json.loads(line) for line in (trained[0] / "samples.jsonl").read_text().splitlines()]
    scorer = Scorer.from_pretrained(reward_dir)
    for row, sample in zip(rows, samples[: len(rows)], strict=True):
        body = row["prompt"].removesuffix("\nTL;DR:")
        ours, label = scorer.score([body, body], [sample["output"], row["label"]]).tolist()
        assert sample["prompt"] == row["prompt"]
        assert math.isclose(sample["reward"], ours - label, abs_tol=1e-5)


def test_run_json_says_what_was_done(trained, sft_dir):
    record = json.loads((trained[0] / "checkpoint_32/hf_model/run.json").read_text())
    assert (record["stage"], record["step"], record["seed"], record["max_length"]) == ("ppo", 32, 1000, 120)
    assert record["data"]["train"]["rows"] == 24
    assert record["arguments"]["model"]["model_path"] == str(sft_dir)
    assert record["arguments"]["method"]["target"] == 6


def test_tables(trained, sft_dir, reward_dir, tldr_dir, root, tmp_path):
    out, _ = trained
    values = {
        "sft_model": sft_dir,
        "ppo_model": out / "best_checkpoint/hf_model",
        "reward_model": reward_dir,
        "dataset": tldr_dir,
        "max_length": 120,
        "max_new_tokens": 12,
        "decoding": "both",
        "output_dir": tmp_path,
    }
    done = python(root / "trlx_inference_gptj.py", flags(values), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {p.name for p in tmp_path.iterdir()} == {
        "inference.json",
        "evaluation.json",
        "evaluation.md",
        "samples.jsonl",
        "rouge.csv",
        "reward.csv",
        *(f"{model}_{way}.csv" for model in ("sft", "ppo") for way in ("greedy", "sample")),
    }
    with (tmp_path / "ppo_greedy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    record = json.loads((tmp_path / "inference.json").read_text())
    row = next(row for row in record["reward"] if row["model"] == "PPO (greedy)")
    assert len(rows) == 16
    assert math.isclose(row["reward"], sum(float(r["reward"]) for r in rows) / 16, abs_tol=1e-5)
    assert math.isclose(row["Δ"], sum(float(r["reward"]) - float(r["label_reward"]) for r in rows) / 16, abs_tol=1e-5)
    assert "ROUGE-L" in done.stdout
    assert "95 % interval" in done.stdout
    kl = [float(r["kl"]) for r in rows]
    assert min(kl) > 0
    assert math.isclose(record["kl"]["greedy"]["mean"], sum(kl) / 16, abs_tol=1e-9)
    assert f"KL of PPO to SFT, greedy: {sum(kl) / 16:.2f} ± " in done.stdout
    assert {int(r["ended"]) for r in rows if int(r["tokens"]) < 12} <= {1}


def test_two_processes(sft_dir, reward_dir, tldr_dir, root, tmp_path):
    """Each takes half of the rollouts; one of them writes."""
    values = overrides(sft_dir, reward_dir, tldr_dir, tmp_path / "out", **{"train.epochs": 1})
    done = accelerate(values, root, "--num_processes", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert sum("policy/kl" in line for line in lines) == 1
    assert {p.name for p in (tmp_path / "out/best_checkpoint/hf_model").iterdir()} == HF_MODEL


def test_real_text(real_data, real_gptj_dir, root, tmp_path):
    """A few dozen batches on real posts and the GPT-2 vocabulary: no special case, no error."""
    reward_model = make_reward_model(tmp_path / "rm", real_gptj_dir)
    values = overrides(real_gptj_dir, reward_model, real_data / "openai_summarize_tldr", tmp_path / "out")
    values |= {"train.seq_length": 550, "task.max_train_prompts": 32, "task.max_eval_prompts": 8}
    done = accelerate(values, root)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    losses = [line["losses/total_loss"] for line in lines if "losses/total_loss" in line]
    assert len(losses) == 8  # 32 batches, 4 to an update
    assert all(map(math.isfinite, losses))


def test_help_names_every_option(root):
    done = python("trlx_gptj_text_summarization.py", ["--help"], root)
    assert done.returncode == 0
    for name in ("method.init_kl_coef = 0.1", "train.batch_size = 4", "task.max_eval_prompts = 1000"):
        assert name in done.stdout
