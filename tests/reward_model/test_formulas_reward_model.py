"""Stage 2 gives the weights, rates and figures that its formulas give, computed the slow way."""

import csv
import json
import math
import random

import numpy as np
import pytest
import torch
from forked import forked, run_main
from formulas import OPTIONS, RATES, SEED, check_weights, metrics
from tiny import gptj_config, make_model_dir, make_tokenizer, sentence, write_rows
from torch import nn
from transformers import AutoModelForCausalLM

from reward_model import gptj_reward_test
from reward_model import train_reward_model_gptj as stage
from reward_model.card_check import card_lines
from reward_model.encoding import encode
from reward_model.reward_model import RewardModel
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.run.files import write_directory
from summarize_rlhf.tokenizer import load_tokenizer

MAX_LENGTH, EVAL_ROWS = 60, 5
VALUES = OPTIONS | {
    "trainable_fraction": 0.5,
    "max_grad_norm": 0.05,
    "max_length": MAX_LENGTH,
    "max_eval_rows": EVAL_ROWS,
}


@pytest.fixture(scope="module")
def sft_dir(tmp_path_factory):
    """Four blocks, so that shares of them differ, as stage 1 writes it."""
    folder = make_model_dir(tmp_path_factory.mktemp("sft"), gptj_config(len(make_tokenizer()), layers=4))
    save_run(folder, run_record("sft", {}, load_tokenizer(folder), 0, 100, {}))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> tuple:
    """A folder of pairs of many lengths, and its rows by split."""
    folder, rng, rows = tmp_path_factory.mktemp("pairs"), random.Random(1), {}
    for split, count in (("train", 24), ("test", 7)):
        rows[split] = [
            {
                "prompt": f"SUBREDDIT: r/pets\nPOST: {sentence(rng, rng.randint(5, 25))}",
                "chosen": f"TL;DR: {sentence(rng, rng.randint(5, 9))}",
                "rejected": f"TL;DR: {sentence(rng, rng.randint(5, 9))}",
            }
            for _ in range(count)
        ]
        write_rows(folder / f"{split}.jsonl", rows[split])
    return folder, rows


@pytest.fixture(scope="module", params=["last_token", "pairwise"])
def run(request, sft_dir, pairs, tmp_path_factory):
    """The real stage under DeepSpeed: its directory and its loss."""
    out = tmp_path_factory.mktemp("rm") / "out"
    values = VALUES | {"model": sft_dir, "dataset": pairs[0], "output_dir": out, "loss": request.param}
    forked(run_main, stage.main, values)
    return out, request.param


def as_ids(tokenizer, rows: list[dict], max_length: int = MAX_LENGTH) -> list[list[list[int]]]:
    summaries = [(row["chosen"], row["rejected"]) for row in rows]
    return encode(tokenizer, [row["prompt"] for row in rows], summaries, max_length)


def values_of(trunk: nn.Module, head: nn.Module, ids: list[int]) -> torch.Tensor:
    return head(trunk(torch.tensor([ids])).last_hidden_state)[0, :, 0]


def loss_of(trunk: nn.Module, head: nn.Module, pair: list[list[int]], kind: str) -> torch.Tensor:
    """-log sigmoid(chosen - rejected), of the scores or averaged over the tokens from where the texts part."""
    chosen, rejected = (values_of(trunk, head, ids) for ids in pair)
    if kind == "last_token":
        return -nn.functional.logsigmoid(chosen[-1] - rejected[-1])
    start = next(t for t, (a, b) in enumerate(zip(*pair, strict=False)) if a != b)
    losses = []
    for t in range(start, max(len(chosen), len(rejected))):
        a, b = chosen[min(t, len(chosen) - 1)], rejected[min(t, len(rejected) - 1)]
        losses.append(-nn.functional.logsigmoid(a - b))
    return torch.stack(losses).mean()


def test_weights_are_those_of_adamw(run, sft_dir, pairs):
    """Every optimizer option, schedule, order and head by seed, the mean over a global batch's pairs: to 2e-5.

    The top half of four blocks is trained, with final norm and head.
    """
    out, kind = run
    model = AutoModelForCausalLM.from_pretrained(sft_dir).base_model
    torch.manual_seed(SEED)
    model.v_head = nn.Linear(32, 1, bias=False)
    for module in (model.wte, model.h[0], model.h[1]):
        module.requires_grad_(False)
    ids = as_ids(load_tokenizer(sft_dir), pairs[1]["train"])

    def shared(pair: list[list[int]]) -> int:
        return next(t for t, (a, b) in enumerate(zip(*pair, strict=False)) if a != b)

    lengths = [len(chosen) + len(rejected) - shared([chosen, rejected]) for chosen, rejected in ids]

    def loss(rows: list[int]) -> torch.Tensor:
        return torch.stack([loss_of(model, model.v_head, ids[row], kind) for row in rows]).mean()

    def saved_name(name: str) -> str:
        return name if name == "v_head.weight" else f"transformer.{name}"

    check_weights(out, model, loss, lengths, 0.05, saved_name)


def test_rate_of_each_step(run):
    assert metrics(run[0], "learning_rate") == pytest.approx(RATES)


def test_figures_are_those_of_the_first_rows_of_test(run, pairs):
    out, kind = run
    model = RewardModel.from_pretrained(out)
    ids = as_ids(load_tokenizer(out), pairs[1]["test"][:EVAL_ROWS])
    with torch.no_grad():
        scores = np.array([[values_of(model.transformer, model.v_head, x)[-1].item() for x in pair] for pair in ids])
        losses = [loss_of(model.transformer, model.v_head, pair, kind).item() for pair in ids]
    assert metrics(out, "eval_accuracy") == [np.mean(scores[:, 0] > scores[:, 1])]
    assert metrics(out, "eval_margin") == pytest.approx([np.mean(scores[:, 0] - scores[:, 1])], abs=1e-5)
    assert metrics(out, "eval_loss") == pytest.approx([np.mean(losses)], abs=1e-5)


def test_the_card_is_of_these_weights_and_outside_the_hashed_files(run, pairs):
    """Its margins are those of the first rows of test, as evaluated; a probe's too, against one text at a time."""
    out, _ = run
    card, record = (json.loads((out / name).read_text()) for name in ("card.json", "run.json"))
    assert record["files"].keys() == {path.name for path in out.iterdir()} - {
        "run.json",
        "card.json",
        "card.md",
        "card.png",
    }
    assert card["weights"] == {"model.safetensors": record["files"]["model.safetensors"]["sha256"]}
    assert card_lines(out)[0] == card["paragraph"]
    assert (card["pairs"], list(card["by_split"]), card["data"]) == (EVAL_ROWS, ["test"], record["data"]["test"])
    assert card["accuracy"]["value"] == metrics(out, "eval_accuracy")[0]
    model, tokenizer, rows = RewardModel.from_pretrained(out), load_tokenizer(out), pairs[1]["test"][:EVAL_ROWS]

    def score(*pair: list[int]) -> list[float]:
        with torch.no_grad():
            return [values_of(model.transformer, model.v_head, ids)[-1].item() for ids in pair]

    margins = [a - b for a, b in (score(*pair) for pair in as_ids(tokenizer, rows))]
    assert card["calibration"]["log_loss"] == pytest.approx(np.mean(np.logaddexp(0, np.negative(margins))), abs=1e-5)
    empty = as_ids(tokenizer, [row | {"rejected": row["chosen"], "chosen": ""} for row in rows])
    expected = np.mean([a - b for a, b in (score(*pair) for pair in empty)])
    assert card["probes"]["empty"]["mean_difference"] == pytest.approx(expected, abs=1e-5)


def test_a_tie_is_no_preference():
    chosen, rejected = np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.0, 1.0, 4.0, 0.0])
    figures = stage.pair_metrics(chosen, rejected, np.zeros(4))
    assert (figures["accuracy"], figures["margin"]) == (0.25, 0.0)
    figures = gptj_reward_test.summary_of(torch.tensor(chosen), torch.tensor(rejected), ["a", "b", "c", "d"])
    assert figures["accuracy"] == 0.25
    assert figures["accuracy_se"] == pytest.approx(math.sqrt(0.25 * 0.75 / 4))


def test_reward_test_cuts_where_it_is_told(sft_dir, pairs, tmp_path):
    """--max_length 45 instead of training's 60; --max_rows and --split as given; each row's own scores."""
    model, tokenizer = RewardModel.from_causal_lm(sft_dir), load_tokenizer(sft_dir)
    nn.init.normal_(model.v_head.weight, generator=torch.Generator().manual_seed(0))
    with write_directory(tmp_path / "rm") as tmp:
        model.save(tmp)
        tokenizer.save_pretrained(tmp)
        save_run(tmp, run_record("rm", {}, tokenizer, 0, MAX_LENGTH, {}))
    values = {"reward_model": tmp_path / "rm", "dataset": pairs[0], "split": "train", "max_rows": 6}
    values |= {"max_length": 45, "output_dir": tmp_path / "out"}
    forked(run_main, gptj_reward_test.main, values)
    rows = pairs[1]["train"][:6]
    assert max(len(x) for pair in as_ids(tokenizer, rows) for x in pair) > 45
    with torch.no_grad():
        expected = [
            [values_of(model.transformer, model.v_head, x)[-1].item() for x in pair]
            for pair in as_ids(tokenizer, rows, 45)
        ]
    with open(tmp_path / "out/reward_test.csv", newline="", encoding="utf-8") as file:
        found = [[float(row["chosen_score"]), float(row["rejected_score"])] for row in csv.DictReader(file)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
