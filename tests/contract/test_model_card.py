"""README.md of a model's directory: YAML that the Hub reads, and figures that are those of run.json."""

import pytest
import yaml
from huggingface_hub import ModelCard

from summarize_rlhf.handover import check_files, read_run, run_record, save_run
from summarize_rlhf.model_card import LIMITS, model_card, write_model_card

DATA = {"train": {"name": "me/posts", "split": "train", "rows": 2400, "sha256": "ab" * 32}}


@pytest.fixture
def record(tokenizer):
    arguments = {"model": "EleutherAI/gpt-j-6B", "dataset": "me/posts", "learning_rate": 1e-5, "keep": "best"}
    results = {"eval_loss": 1.23456, "generated_rouge1": 0.4, "eval_runtime": 9.0, "eval_samples_per_second": 3.0}
    return run_record("sft", arguments, tokenizer, 3, 550, DATA, steps=120, results=results)


def front(card: str) -> dict:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def test_the_hub_reads_its_front(record):
    card = model_card(record)
    ModelCard(card)  # the Hub's own reader of the YAML
    assert front(card) == {
        "language": "en",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "EleutherAI/gpt-j-6B",
        "datasets": ["me/posts"],
        "tags": ["summarization", "sft"],
    }


def test_a_reward_model_generates_no_text(record):
    found = front(model_card(record | {"stage": "rm"}))
    assert "pipeline_tag" not in found
    assert "reward-model" in found["tags"]


def test_ppos_steps_are_told(record):
    steps = {name: x for name, x in record.items() if name != "steps"} | {"stage": "ppo", "step": 4321}
    assert "| steps | 4321 |" in model_card(steps)


@pytest.mark.parametrize("stage", ["sft", "rm", "ppo"])
def test_each_stage_says_its_recipe_data_results_and_limits(record, stage):
    card = model_card(record | {"stage": stage})
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == [
        "Use", "Results", "Data", "Recipe", "Limits", "Where it comes from",
    ]  # fmt: skip
    assert LIMITS[stage] in card
    for row in (
        "| eval&#95;loss | 1.235 |", "| train: me/posts | 2400 |", "| learning&#95;rate | 1e-05 |", "| steps | 120 |"
    ):  # fmt: skip
        assert row in card
    assert "runtime" not in card
    assert "per&#95;second" not in card


def test_directories_of_this_machine_are_no_names_on_the_hub(record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my/sft").mkdir(parents=True)
    for name in (str(tmp_path), "my/sft", "./sft", None, "https://host/x"):
        found = front(model_card(record | {"arguments": {"model": name, "dataset": name}}))
        assert found.keys() & {"base_model", "datasets"} == set()


def test_ppo_names_its_model_and_an_adapter_is_told(record):
    nested = {"model": {"model_path": "me/sft", "peft_config": {"r": 8}}, "train": {"epochs": 3}}
    card = model_card(record | {"stage": "ppo", "arguments": nested, "base_sha256": "ab", "results": {}})
    assert front(card)["base_model"] == "me/sft"
    assert front(card)["library_name"] == "peft"
    assert "This is a LoRA adapter" in card
    assert "| model.peft&#95;config.r | 8 |" in card
    assert "None were measured" in card
    assert "This is a LoRA adapter" not in model_card(record)


def test_what_a_user_named_is_no_markdown_and_no_secret(record):
    token = "hf_" + "a" * 30
    given = {"model": "x", "dataset": f"a | <img src=x> `b` {token}\n# c \x1b[31m", "hub_token": "t0ken"}
    row = next(line for line in model_card(record | {"arguments": given}).splitlines() if line.startswith("| dataset"))
    assert not set("<>`#\x1b") & set(row.replace("&#", ""))
    assert row.count("|") == 3


def test_it_is_written_before_the_list_of_files_and_without_credentials(record, tmp_path):
    record["arguments"]["dataset"] = "hf_" + "a" * 30
    (tmp_path / "README.md").write_text("peft's own")
    write_model_card(tmp_path, record)
    save_run(tmp_path, record)
    found = read_run(tmp_path)
    assert list(found["files"]) == ["README.md"]
    check_files(tmp_path, found)
    text = (tmp_path / "README.md").read_text()
    assert "aaaa" not in text
    assert "peft's own" not in text
