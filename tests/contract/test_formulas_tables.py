"""The tables' and stage 3's figures, each computed again from the models on disk: who wrote what, how, and its reward.

Both run in a child of the test, by the arguments a user gives.
"""

import contextlib
import csv
import io
import json
import sys
from pathlib import Path

import pytest
import stage_models
import torch
from forked import forked, run_main
from tiny import make_tldr, make_tokenizer

import trlx_gptj_text_summarization as stage3
import trlx_inference_gptj as tables
from reward_model.scoring import Scorer
from summarize_rlhf.data import load_rows, places
from summarize_rlhf.lm.summaries import generate_summaries
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.rouge import rouge
from summarize_rlhf.text import cut_prompts, prompt_text
from summarize_rlhf.tokenizer import load_tokenizer

ROWS, ROOM, NEW = 5, stage_models.ROOM, 9  # rows of the tables; tokens of prompt and summary; of the summary


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """sft/, ppo/, rm/ and data/ whose posts are too long for ROOM."""
    folder = tmp_path_factory.mktemp("stages")
    stage_models.model_of_stage(folder / "sft", "sft", 1)
    stage_models.model_of_stage(folder / "ppo", "ppo", 2)
    stage_models.reward_model(folder / "rm", folder / "sft")
    make_tldr(folder / "data", train=8, valid=6, test=7, words=30)
    return folder


@pytest.fixture(scope="module")
def made(folder) -> Path:
    """Both tables, greedy and sampled, no option at its default."""
    values = {f"{name}_model": folder / name for name in ("sft", "ppo")} | {"reward_model": folder / "rm"}
    values |= {"dataset": folder / "data", "max_rows": ROWS, "max_length": ROOM, "max_new_tokens": NEW}
    values |= {"decoding": "both", "temperature": 0.6, "seed": 4, "output_dir": folder / "out"}
    forked(run_main, tables.main, values)
    return folder / "out"


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def slow_scores(folder: Path, rows, texts: list[str]) -> torch.Tensor:
    """Each text under its own post, one at a time."""
    scorer = Scorer.from_pretrained(folder / "rm")
    bodies = [row["prompt"].removesuffix("\nTL;DR:") for row in rows]
    return torch.stack([scorer.score([body], [text])[0] for body, text in zip(bodies, texts, strict=True)])


@pytest.fixture(scope="module")
def rows(folder):
    return load_rows(folder / "data", "test", ["prompt", "label"], ROWS)


@pytest.mark.parametrize("name", ["sft", "ppo"])
@pytest.mark.parametrize("way", ["greedy", "sample"])
def test_each_summary_is_its_own_models_by_its_own_way(folder, made, rows, name: str, way: str) -> None:
    model, tokenizer = load_causal_lm(folder / name), load_tokenizer(folder / name)
    prompts = [prompt_text(body) for body in cut_prompts(tokenizer, rows["prompt"], ROOM - NEW, places(rows))]
    assert any(prompt != row["prompt"] for prompt, row in zip(prompts, rows, strict=True))  # some are cut
    options = {"do_sample": True, "temperature": 0.6, "seed": 4} if way == "sample" else {}
    expected = generate_summaries(model, tokenizer, prompts, max_new_tokens=NEW, progress=None, **options)
    assert [row["summary"] for row in csv_rows(made / f"{name}_{way}.csv")] == expected


def test_rewards_and_their_difference_are_those_of_each_row(folder, made, rows) -> None:
    gold = slow_scores(folder, rows, rows["label"])
    record = json.loads((made / "inference.json").read_text())
    means = {}
    for line in record["reward"]:
        name, way = line["model"].removesuffix(")").split(" (")
        found = csv_rows(made / f"{name.lower()}_{way}.csv")
        scores = slow_scores(folder, rows, [row["summary"] for row in found])
        assert [float(row["reward"]) for row in found] == pytest.approx(scores.tolist(), abs=1e-5)
        assert [float(row["label_reward"]) for row in found] == pytest.approx(gold.tolist(), abs=1e-5)
        means[name, way] = scores.mean().item()
        assert line["reward"] == pytest.approx(means[name, way], abs=1e-5)
        assert line["Δ"] == pytest.approx((scores - gold).mean().item(), abs=1e-5)
    for way in ("greedy", "sample"):
        gain = record["reward_gain"][way]["mean"]
        assert gain == pytest.approx(means["PPO", way] - means["SFT", way], abs=1e-5)
    for line in record["rouge"]:
        name, way = line["model"].removesuffix(")").split(" (")
        summaries = [row["summary"] for row in csv_rows(made / f"{name.lower()}_{way}.csv")]
        assert line["ROUGE-L"] == pytest.approx(rouge(summaries, rows["label"])["rougeL"])


def test_one_way_alone(made) -> None:
    assert tables.ways(tables.InferenceArguments(decoding="sample")) == ["sample"]
    assert tables.ways(tables.InferenceArguments(decoding="greedy")) == ["greedy"]


# ------------------------------------------------------------------- stage 3


def ppo(overrides: dict) -> str:
    """Runs stage 3 with these overrides; its error, if it ends with one."""
    sys.argv = ["stage 3", json.dumps(overrides)]
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            stage3.main()
    except SystemExit:
        return told.getvalue().partition("error: ")[2]
    return ""


def overrides(folder: Path, out: Path) -> dict:
    return {
        "model.model_path": str(folder / "sft"),
        "task.reward_model": str(folder / "rm"),
        "task.dataset": str(folder / "data"),
        "task.max_eval_prompts": 4,
        "train.checkpoint_dir": str(out),
        "train.tracker": None,
        "train.seq_length": ROOM,
        "train.epochs": 1,
        "method.num_rollouts": 4,
        "method.chunk_size": 4,
        "method.ppo_epochs": 1,
        "method.gen_kwargs.max_new_tokens": NEW,
    }


def test_reward_is_the_sample_less_its_own_label(folder, tmp_path) -> None:
    """On the first rows of valid, their posts cut so that the summary fits; going on with another task is refused."""
    options = overrides(folder, tmp_path / "out")
    assert forked(ppo, options) == ""
    rows = load_rows(folder / "data", "valid", ["prompt", "label"], 4)
    samples = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()][:4]
    tokenizer = load_tokenizer(folder / "sft")
    assert [row["prompt"] for row in samples] == [
        prompt_text(body) for body in cut_prompts(tokenizer, rows["prompt"], ROOM - NEW, places(rows))
    ]
    scorer = Scorer.from_pretrained(folder / "rm")
    for row, sample in zip(rows, samples, strict=True):
        body = sample["prompt"].removesuffix("\nTL;DR:")
        mine, label = (scorer.score([body], [text]).item() for text in (sample["output"], row["label"]))
        assert sample["reward"] == pytest.approx(mine - label, abs=1e-5)
    error = forked(ppo, options | {"task.max_eval_prompts": 3, "train.epochs": 2})
    assert "max_eval_prompts was 4, is 3" in error


def test_a_reward_model_of_another_tokenizer_is_refused(folder, tmp_path) -> None:
    """Its ids would mean other text than the policy's, though both decode and encode without complaint."""
    other = make_tokenizer(vocab_size=350)
    other.pad_token = other.eos_token
    stage_models.reward_model(tmp_path / "rm", folder / "sft", other)
    error = forked(ppo, overrides(folder, tmp_path / "out") | {"task.reward_model": str(tmp_path / "rm")})
    assert f"trained with another tokenizer than the one given ({folder / 'sft'})" in error
