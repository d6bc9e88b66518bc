"""What one stage hands to the next: a record, and the checks of the stage that takes it."""

import json
import warnings

import pytest
from tiny import make_tokenizer

from summarize_rlhf import UserError
from summarize_rlhf.handover import check_handover, read_run, run_record, save_run
from summarize_rlhf.lm.weights import find_model


@pytest.fixture
def handed_over(tmp_path, tokenizer):
    record = run_record("sft", {"seed": 3}, tokenizer, 3, 550, {"train": {"rows": 2}}, results={"loss": 1.5})
    save_run(tmp_path, record)
    return tmp_path


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda file: file.write_bytes(b"weighty"), "has 7 bytes instead of 7000"),
        (lambda file: file.write_bytes(b"weights" * 999 + b"weighty"), "its hash differs"),
        (lambda file: file.unlink(), "is missing"),
    ],
)
def test_a_directory_that_was_damaged_since_is_refused(tmp_path, tokenizer, spoil, told):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights" * 1000)
    save_run(tmp_path, run_record("sft", {}, tokenizer, 3, 550, {}))
    check_handover(tmp_path, expects_stage="sft", tokenizer=tokenizer)
    spoil(file)
    with pytest.raises(UserError, match=f"{file} .*{told}"):
        check_handover(tmp_path, expects_stage="sft", tokenizer=tokenizer)


def test_the_record_comes_back(handed_over, tokenizer):
    record = check_handover(handed_over, expects_stage="sft", tokenizer=tokenizer)
    assert record == read_run(handed_over)
    assert {k: record[k] for k in ("stage", "arguments", "seed", "max_length", "results")} == {
        "stage": "sft",
        "arguments": {"seed": 3},
        "seed": 3,
        "max_length": 550,
        "results": {"loss": 1.5},
    }
    assert record["eos_token_id"] == record["pad_token_id"] == 0
    assert set(record["versions"]) >= {"python", "torch", "transformers", "deepspeed"}
    assert len(record["tokenizer_sha256"]) == 64


def test_the_record_holds_no_credentials(tmp_path):
    token = "hf_" + "a" * 30
    said = {"hub_token": "x", "api_key": "y", "dataset": "https://me:secret@host/data", "words": [f"use {token}!"]}
    kept = {"max_new_tokens": 50, "tokenizer": "gpt2", "url": "https://host/data"}
    save_run(tmp_path, {"arguments": said | kept})
    read = json.loads((tmp_path / "run.json").read_text())["arguments"]
    hidden = {"hub_token": "***", "api_key": "***", "dataset": "https://***@host/data", "words": ["use ***!"]}
    assert read == hidden | kept


def test_a_wrong_stage_is_refused(handed_over):
    with pytest.raises(UserError, match=r"holds a checkpoint of stage 'sft', but rm is needed"):
        check_handover(handed_over, expects_stage="rm")
    check_handover(handed_over, expects_stage=("sft", "ppo"))


def test_a_foreign_tokenizer_is_refused(handed_over):
    other = make_tokenizer(vocab_size=300)
    with pytest.raises(UserError, match="was trained with another tokenizer"):
        check_handover(handed_over, expects_stage="sft", tokenizer=other)


def test_another_template_is_refused(handed_over):
    record = json.loads((handed_over / "run.json").read_text())
    (handed_over / "run.json").write_text(json.dumps(record | {"template": "{body} Summary:"}))
    with pytest.raises(UserError, match=r"another text template: '\{body\} Summary:'"):
        check_handover(handed_over, expects_stage="sft")


def test_a_released_checkpoint_is_accepted_with_one_warning(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert check_handover(tmp_path, expects_stage="rm") is None
    assert [str(w.message) for w in caught] == [
        f"{tmp_path} has no run.json: its tokenizer and text template are not checked"
    ]


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"stage": "sf')
    with pytest.raises(UserError, match=r"cannot read the record .*run.json"):
        read_run(tmp_path)


def test_the_local_directory_counts_as_soon_as_there_is_something_in_it(tmp_path, gptj_dir):
    assert find_model(gptj_dir, "owner/name") == str(gptj_dir)
    assert find_model(tmp_path, "owner/name") == "owner/name"
    (tmp_path / "config.json").write_text("{}")
    assert find_model(tmp_path, "owner/name") == str(tmp_path)
