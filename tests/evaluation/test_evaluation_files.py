"""What trlx_inference_gptj.py writes for three models: each figure from the models on disk; resumed; two processes."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluated import MODELS, NEW, POSTS, arguments, table
from forked import forked
from stage_models import ROOM

import trlx_inference_gptj as tables
from reward_model.scoring import Scorer
from summarize_rlhf.evaluation.best_of_n import expected
from summarize_rlhf.evaluation.copying import copied_share
from summarize_rlhf.lm import summariser
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.run.kept_rows import KeptRows
from summarize_rlhf.tokenizer import load_tokenizer


def test_the_files(out):
    ways = [f"{name}_{way}.csv" for name in MODELS for way in ("greedy", "sample")]
    judged = [file.name for file in out.glob("judge_*.jsonl")]
    expected = {"evaluation.json", "evaluation.md", "samples.jsonl", "inference.json", "rouge.csv", "reward.csv"}
    assert {file.name for file in out.iterdir()} == {*expected, *ways, *judged}
    assert len(judged) == 1


def test_figures_are_those_of_the_summaries(folder, out, record):
    assert (record["posts"], record["seed"], record["confidence"]) == (POSTS, 4, 0.95)
    gain = record["models"]["ppo"]["reward"]["value"] - record["models"]["sft"]["reward"]["value"]
    assert (record["gain"]["first"], record["gain"]["second"]) == ("ppo", "sft")
    assert record["gain"]["total"]["value"] == pytest.approx(gain)
    assert record["models"] == record["ways"]["greedy"]["models"]
    for way, samples in (("greedy", 1), ("sample", 2)):
        for name in MODELS:
            rows, found = table(out, f"{name}_{way}"), record["ways"][way]["models"][name]
            assert len(rows) == samples * POSTS
            assert found["directory"] == str(folder / name)
            assert found["reward"]["value"] == pytest.approx(np.mean([float(row["reward"]) for row in rows]))
            over = np.mean([float(row["reward"]) - float(row["label_reward"]) for row in rows])
            assert found["reward_over_label"]["value"] == pytest.approx(over)
            assert found["eos_rate"]["value"] == pytest.approx(np.mean([int(row["ended"]) for row in rows]))
            copied = [copied_share(row["summary"], row["prompt"].removesuffix("\nTL;DR:")) for row in rows]
            assert found["copied_4grams"]["value"] == pytest.approx(np.mean(copied))
            gold = [len(row["summary"].split()) + len(row["prompt"]) / 1000 for row in rows]
            assert found["gold"]["value"] == pytest.approx(np.mean(gold))
            if name != "sft":
                assert found["kl_to_first"]["value"] == pytest.approx(np.mean([float(row["kl"]) for row in rows]))
                assert (found["kl_to_first_sampled"] is None) == (way == "greedy")
    assert record["models"]["sft"]["kl_to_first"] is None
    tokenizer, labels = load_tokenizer(folder / "sft"), [row["label"] for row in table(out, "sft_greedy")]
    tokens = [len(tokenizer(f" {label}")["input_ids"]) + 1 for label in labels]  # its EOS counts, as a model's does
    assert record["label"]["tokens"]["value"] == pytest.approx(np.mean(tokens))


def test_two_samples_of_a_post_differ_and_each_has_its_own_reward(folder, out):
    rows = table(out, "ppo_sample")
    assert [row["prompt"] for row in rows[:POSTS]] == [row["prompt"] for row in rows[POSTS:]]
    assert [row["summary"] for row in rows[:POSTS]] != [row["summary"] for row in rows[POSTS:]]
    scorer = Scorer.from_pretrained(folder / "rm")
    bodies = [row["prompt"].removesuffix("\nTL;DR:") for row in rows]
    expected = scorer.score(bodies, [row["summary"] for row in rows]).tolist()
    assert [float(row["reward"]) for row in rows] == pytest.approx(expected, abs=1e-5)


def test_win_rates_are_paired_by_post(out, record):
    greedy = {name: [float(row["reward"]) for row in table(out, f"{name}_greedy")] for name in MODELS}
    greedy["label"] = [float(row["label_reward"]) for row in table(out, "sft_greedy")]
    found = {(row["first"], row["second"]): row for row in record["comparisons"]}
    assert len(found) == 6
    for (first, second), row in found.items():
        pairs = list(zip(greedy[first], greedy[second], strict=True))
        assert row["win_rate"]["value"] == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs]))
        assert row["difference"]["value"] == pytest.approx(np.mean([a - b for a, b in pairs]))
        assert row["verdict"] in ("better", "worse", "undecided")


def test_samples_are_the_first_summaries(out):
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [row["post"] for row in rows] == list(range(POSTS))
    for row, line in zip(rows, table(out, "other_greedy"), strict=True):
        assert (row["prompt"], row["label"]["text"]) == (line["prompt"], line["label"])
        assert (row["other"]["text"], row["other"]["tokens"]) == (line["summary"], int(line["tokens"]))
        assert row["other"]["reward"] == pytest.approx(float(line["reward"]))
        assert row["label"]["reward"] == pytest.approx(float(line["label_reward"]))
        assert row["other"]["gold"] == len(line["summary"].split()) + len(line["prompt"]) / 1000


def test_best_of_n_is_of_samples_of_the_first_model(folder, record):
    best = record["best_of_n"]
    assert (best["model"], best["samples"], best["posts"]) == ("sft", 5, 4)
    assert [point["n"] for point in best["curve"]] == [1, 2, 4, 5]
    rewards = [point["reward"]["value"] for point in best["curve"]]
    assert rewards == sorted(rewards)
    assert rewards[0] < rewards[-1]
    assert all(point["gold"]["low"] < point["gold"]["value"] < point["gold"]["high"] for point in best["curve"])
    drawn = forked(drawn_again, folder)
    assert rewards == pytest.approx([expected(drawn, n).mean() for n in (1, 2, 4, 5)], abs=1e-5)


def drawn_again(folder: Path) -> list[list[float]]:
    """The rewards (4, 5) of five samples of each of four posts, of the stream that is best-of-N's."""
    model = tables.Summariser(
        "sft", str(folder / "sft"), torch.device("cpu"), max_length=ROOM, max_new_tokens=NEW, temperature=1.0, seed=4,
        batch_size=32,
    )  # fmt: skip
    rows = tables.load_rows(folder / "data", "test", ["prompt", "label"], 4)
    written = model.write(model.prompts(rows["prompt"], ["here"] * 4), "sample", 5, stream=1)
    bodies = [prompt.removesuffix("\nTL;DR:") for prompt in rows["prompt"]]
    scores = Scorer.from_pretrained(folder / "rm").score(bodies * 5, [summary.text for summary in written])
    return scores.view(5, 4).T.tolist()


def test_the_judge_has_a_table_of_its_own(out, record):
    judge = record["judge"]
    assert (judge["name"], judge["pairs"], judge["consistent"]) == ("of_the_user:judge", 8, 1.0)
    lengths = {name: [len(row["summary"]) for row in table(out, f"{name}_greedy")] for name in MODELS}
    won = [(a > b) + 0.5 * (a == b) for a, b in zip(lengths["ppo"], lengths["sft"], strict=True)]
    assert judge["comparisons"][0]["win_rate"]["value"] == pytest.approx(np.mean(won))
    assert -1 <= judge["kappa"]["value"] <= 1


def kept_under_other_options(folder: Path) -> list[list[str]]:
    """Samples that each take up what the one before has kept, under another option."""
    options = {"max_length": ROOM, "max_new_tokens": NEW, "temperature": 1.0, "seed": 4, "batch_size": 32}
    texts = []
    for other in ({}, {"temperature": 0.7}, {}, {"seed": 5}, {}, {"max_new_tokens": NEW - 1}, {}):
        model = tables.Summariser("sft", str(folder / "sft"), torch.device("cpu"), **options | other)
        written = model.write(["POST: my cat\nTL;DR:"] * 4, "sample", 2, KeptRows(folder / "kept"))
        texts.append([summary.text for summary in written])
    return texts


def test_samples_kept_under_other_options_are_drawn_again(folder):
    texts = forked(kept_under_other_options, folder)
    assert texts[0] == texts[2] == texts[4] == texts[6]
    assert len({tuple(row) for row in texts}) == 4


def numbers(out: Path) -> dict:
    record = json.loads((out / "evaluation.json").read_text())
    return {name: record[name] for name in ("models", "label", "comparisons", "ways", "best_of_n", "judge")}


def stopped(folder: Path, at: str) -> None:
    """A run that ends when the second model is to be read."""

    def load(path, **options):
        if str(path).endswith(at):
            raise KeyboardInterrupt
        return load_causal_lm(path, **options)

    summariser.load_causal_lm = load
    with pytest.raises(SystemExit):
        run_tables(folder, "resumed")


def run_tables(folder: Path, out: str) -> None:
    os.chdir(folder)
    sys.argv = ["tables", *arguments(folder, out)]
    tables.main()


def resumed(folder: Path) -> list[str]:
    read = []
    summariser.load_causal_lm = lambda path, **options: read.append(Path(path).name) or load_causal_lm(path, **options)
    run_tables(folder, "resumed")
    return read


def test_a_stopped_run_goes_on_and_ends_alike(folder, out):
    forked(stopped, folder, "ppo")
    assert list((folder / "resumed/unfinished").glob("sft-greedy-0*"))
    read = forked(resumed, folder)
    assert read[0] == "ppo"  # the first model's summaries are there
    assert numbers(folder / "resumed") == numbers(out)
    assert not (folder / "resumed/unfinished").exists()


def test_two_processes_write_the_same(folder, out, server):
    ended = server.run("tables", arguments(folder, "two"), folder, processes=2)
    assert ended.code == 0, ended.err[-3000:]
    assert ended.out.count("wrote ") == 1
    for name in MODELS:
        for way in ("greedy", "sample"):
            ours, theirs = table(folder / "two", f"{name}_{way}"), table(out, f"{name}_{way}")
            assert [row["summary"] for row in ours] == [row["summary"] for row in theirs]
            assert [float(row["reward"]) for row in ours] == pytest.approx(
                [float(r["reward"]) for r in theirs], abs=1e-5
            )
