"""Stage 2 and the reward test as users start them: the documented command, in its folder, through the real launcher."""

import csv
import json
import random
import subprocess
from pathlib import Path

import pytest
import torch
from launch import deepspeed, flags, python
from safetensors.torch import load_file
from tiny import make_model_dir, make_tokenizer, sentence, write_rows
from transformers import BloomConfig

from reward_model.scoring import Scorer
from summarize_rlhf.handover import check_files, run_record, save_run
from summarize_rlhf.run.peak_memory import HOST
from summarize_rlhf.tokenizer import load_tokenizer

CARD = {"card.json", "card.md", "card.png"}
FILES = CARD | {
    "README.md",
    "config.json",
    "metrics.jsonl",
    "model.safetensors",
    "run.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
TINY = {
    "max_length": 120,
    "max_steps": 8,
    "global_batch_size": 8,
    "per_device_train_batch_size": 4,
    "learning_rate": 3e-3,
    "warmup_steps": 2,
    "trainable_fraction": 0.5,
    "eval_steps": 4,
    "save_steps": 4,
    "logging_steps": 2,
    "report_to": "none",
}
# What the launcher says of a machine without GPU and hostfile, and torch of DeepSpeed's calls on several processes.
NOT_OURS = ("real_accelerator.py", "runner.py", "torch.distributed", "c10d_logger.py")


def warnings_of(done: subprocess.CompletedProcess) -> list[str]:
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if "warning" in line.lower() and not any(word in line for word in NOT_OURS)]


@pytest.fixture(scope="module")
def sft_dir(tmp_path_factory) -> Path:
    """A directory as stage 1 writes it, untrained."""
    directory = make_model_dir(tmp_path_factory.mktemp("sft"))
    save_run(directory, run_record("sft", {}, load_tokenizer(directory), 0, 120, {}))
    return directory


@pytest.fixture(scope="module")
def pairs_dir(tmp_path_factory) -> Path:
    """Pairs whose chosen summary says "found" and whose rejected one says "lost", but for 2 of the 14 of test."""
    directory, rng = tmp_path_factory.mktemp("pairs"), random.Random(0)
    for split, count in (("train", 40), ("test", 14)):
        rows = []
        for number in range(count):
            words = ["found", "lost"] if split == "train" or number % 7 else ["lost", "found"]
            chosen, rejected = (f"TL;DR: {sentence(rng, rng.randint(4, 9))} {word} {word}" for word in words)
            prompt = f"SUBREDDIT: r/pets\nPOST: {sentence(rng, rng.randint(5, 30))}"
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
        write_rows(directory / f"{split}.jsonl", rows)
    return directory


@pytest.fixture(scope="module")
def trained(root, sft_dir, pairs_dir, tmp_path_factory):
    """One run, started in its folder as documented."""
    output = tmp_path_factory.mktemp("out") / "rm_checkpoint"
    values = TINY | {"model": sft_dir, "dataset": pairs_dir, "output_dir": output}
    done = deepspeed("train_reward_model_gptj.py", flags(values), root / "reward_model")
    assert done.returncode == 0, done.stdout + done.stderr
    return output, done


def lines_of(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def test_exactly_these_files_are_written(trained):
    output, done = trained
    assert {path.name for path in output.iterdir()} == FILES
    assert {*json.loads((output / "run.json").read_text())["files"], "run.json"} == FILES - CARD
    assert sorted(path.name for path in output.parent.iterdir()) == ["rm_checkpoint", "rm_checkpoint-steps"]
    assert "train: 40 pairs; left out: 0 with equal summaries" in done.stdout
    assert "\ndoctor: reward model " in done.stdout
    assert warnings_of(done) == []
    assert "Traceback" not in done.stderr


def test_the_record_says_what_was_done(trained, sft_dir, pairs_dir):
    output, _ = trained
    record = json.loads((output / "run.json").read_text())
    assert record["stage"] == "rm"
    assert record["max_length"] == 120
    assert record["steps"] == 8
    assert record["arguments"]["loss"] == "pairwise"
    assert record["arguments"]["adam_beta2"] == 0.999  # a published value that nobody overrode
    assert record["model"] == str(sft_dir)
    assert (record["data"]["train"]["rows"], record["data"]["test"]["rows"]) == (40, 14)
    logged = lines_of(output)
    assert [line["step"] for line in logged if "loss" in line] == [2, 4, 6, 8]
    evaluated = [line for line in logged if "eval_accuracy" in line]
    assert [line["step"] for line in evaluated] == [4, 8]
    assert record["results"]["eval_accuracy"] == evaluated[-1]["eval_accuracy"]
    assert [0.1 < line[HOST] < 10 for line in logged if HOST in line] == [True]


def test_only_the_top_was_trained(trained, sft_dir):
    before, after = load_file(sft_dir / "model.safetensors"), load_file(trained[0] / "model.safetensors")
    changed = {name for name in after if name in before and not torch.equal(after[name], before[name])}
    frozen = {name for name in after if ".wte." in name or ".h.0." in name}
    assert frozen
    assert changed == after.keys() - frozen - {"v_head.weight"}


def test_it_learns(trained):
    """Fails if chosen and rejected were exchanged anywhere on the way from the file to the accuracy."""
    last = [line for line in lines_of(trained[0]) if "eval_accuracy" in line][-1]
    assert last["eval_accuracy"] == pytest.approx(12 / 14)
    assert last["eval_margin"] == pytest.approx(last["eval_chosen"] - last["eval_rejected"], rel=1e-4)


def test_two_processes_other_micro_batches_and_no_packing_train_the_same_model(
    trained, root, sft_dir, pairs_dir, tmp_path
):
    """From the root, by a file of arguments. Fails if gradients were summed, processes drew other pairs, or a
    packed pair taught something else than its two texts.
    """
    values = TINY | {"model": str(sft_dir), "dataset": str(pairs_dir), "output_dir": str(tmp_path / "rm")}
    values |= {"per_device_train_batch_size": 2, "per_device_eval_batch_size": 3, "pack_pairs": False, "card_pairs": 5}
    (tmp_path / "arguments.json").write_text(json.dumps(values))
    script = "reward_model/train_reward_model_gptj.py"
    done = deepspeed(script, [tmp_path / "arguments.json"], root, processes=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert warnings_of(done) == []
    assert json.loads((tmp_path / "rm" / "run.json").read_text())["processes"] == 2
    assert json.loads((tmp_path / "rm" / "card.json").read_text())["pairs"] == 5
    alone, together = load_file(trained[0] / "model.safetensors"), load_file(tmp_path / "rm" / "model.safetensors")
    for name, tensor in alone.items():
        if name != "transformer.ln_f.bias":  # the same in both scores: its gradient is rounding, which Adam enlarges
            torch.testing.assert_close(
                together[name], tensor, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: name + text
            )
    for one, two in zip(lines_of(trained[0]), lines_of(tmp_path / "rm"), strict=True):
        for key in {"loss", "eval_loss", "eval_accuracy", "eval_margin", "grad_norm"} & one.keys():
            assert two[key] == pytest.approx(one[key], rel=1e-3), (one["step"], key)


def test_a_family_that_cannot_be_packed_says_so_and_trains(server, pairs_dir, tmp_path):
    config = BloomConfig(vocab_size=len(make_tokenizer()), hidden_size=32, n_head=2, n_layer=2)
    make_model_dir(tmp_path / "bloom", config)
    values = TINY | {"model": tmp_path / "bloom", "dataset": pairs_dir, "output_dir": tmp_path / "rm", "max_steps": 1}
    values["card_pairs"] = 0
    ended = server.run("rm", flags(values), tmp_path)
    assert ended.code == 0, ended.err
    assert "pairs are not packed: it would change the values of a bloom" in ended.out
    assert {path.name for path in (tmp_path / "rm").iterdir()} == FILES - CARD


@pytest.mark.parametrize("folder", ["reward_model", "."])
def test_the_reward_test_measures_what_training_reported(trained, root, pairs_dir, tmp_path, folder):
    script = "gptj_reward_test.py" if folder != "." else "reward_model/gptj_reward_test.py"
    arguments = flags({"reward_model": trained[0], "dataset": pairs_dir, "output_dir": tmp_path, "batch_tokens": 300})
    done = python(script, arguments, root / folder)
    assert done.returncode == 0, done.stderr
    assert warnings_of(done) == []
    assert {path.name for path in trained[0].iterdir()} == FILES
    result = json.loads((tmp_path / "reward_test.json").read_text())
    card = json.loads((trained[0] / "card.json").read_text())
    assert (card["accuracy"]["value"], card["accuracy"]["low"]) == (result["accuracy"], result["accuracy_low"])
    assert card["paragraph"] in done.stdout
    check_files(trained[0], json.loads((trained[0] / "run.json").read_text()))
    reported = json.loads((trained[0] / "run.json").read_text())["results"]
    assert result["pairs"] == 14
    for key in ("accuracy", "chosen", "rejected", "margin"):
        assert result[key] == pytest.approx(reported[f"eval_{key}"], rel=1e-5)
    assert f"{result['accuracy']:.3f}" in done.stdout
    with (tmp_path / "reward_test.csv").open() as file:
        rows = list(csv.DictReader(file))
    better = [float(row["chosen_score"]) > float(row["rejected_score"]) for row in rows]
    assert sum(better) / len(better) == result["accuracy"]


def test_the_checkpoint_scores_text(trained):
    scorer = Scorer.from_pretrained(trained[0])
    assert scorer.score(["POST: my cat moved."], ["My cat moved."]).isfinite().all()


def test_real_text(server, real_data, real_gptj_dir, tmp_path):
    """Two dozen steps on real posts and lengths, with the paper's loss."""
    values = TINY | {"model": real_gptj_dir, "dataset": real_data / "openai_summarize_comparisons"}
    values |= {
        "output_dir": tmp_path / "rm",
        "max_length": 300,
        "max_steps": 24,
        "max_train_rows": 200,
        "loss": "last_token",
    }
    ended = server.run("rm", flags(values), tmp_path, 1)
    assert ended.code == 0, ended.out + ended.err
    assert {path.name for path in (tmp_path / "rm").iterdir()} == FILES
    results = json.loads((tmp_path / "rm" / "run.json").read_text())["results"]
    assert 0 < results["eval_accuracy"] < 1
