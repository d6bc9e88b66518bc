"""The hand-over: directories whole or absent, records that are checked, weights that are all there."""

import errno
import json
import os
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import gpt2_config, gptj_config, make_model_dir, make_tokenizer

from summarize_rlhf import UserError, handover
from summarize_rlhf.handover import check_handover, read_run, run_record, save_run
from summarize_rlhf.lm.last_block import has_keep_from
from summarize_rlhf.lm.weights import find_model, fit_to_tokenizer, load_causal_lm, state_dict_of
from summarize_rlhf.run.files import check_output_dir, write_directory


def fill(directory, content="new"):
    (directory / "weights").write_text(content)
    (directory / "run.json").write_text("{}")


def listing(path):
    return sorted(p.name for p in path.iterdir())


# --- whole or not at all


def test_a_directory_appears_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    with write_directory(out) as tmp:
        fill(tmp)
        assert not out.exists()
    assert listing(out) == ["run.json", "weights"]
    assert listing(out.parent) == ["out"]


def test_an_earlier_one_is_replaced_whole(tmp_path):
    out = tmp_path / "out"
    with write_directory(out) as tmp:
        fill(tmp, "old")
        (tmp / "stale").write_text("")
    with write_directory(out) as tmp:
        fill(tmp)
    assert listing(out) == ["run.json", "weights"]
    assert (out / "weights").read_text() == "new"
    assert listing(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_nothing(tmp_path, error):
    with pytest.raises(error), write_directory(tmp_path / "out") as tmp:
        fill(tmp)
        raise error
    assert listing(tmp_path) == []


def test_an_interruption_leaves_the_earlier_one(tmp_path):
    out = tmp_path / "out"
    with write_directory(out) as tmp:
        fill(tmp, "old")
    with pytest.raises(KeyboardInterrupt), write_directory(out) as tmp:
        fill(tmp)
        raise KeyboardInterrupt
    assert (out / "weights").read_text() == "old"
    assert listing(tmp_path) == ["out"]


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="No space left on device"), write_directory(tmp_path / "out") as tmp:
        fill(tmp)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert listing(tmp_path) == []


def test_a_failed_swap_puts_the_earlier_one_back(tmp_path, monkeypatch):
    out = tmp_path / "out"
    with write_directory(out) as tmp:
        fill(tmp, "old")
    rename = handover.Path.rename

    def fail_second(self, target):
        if self.name == ".out.tmp":
            raise OSError(errno.EIO, "broken")
        return rename(self, target)

    monkeypatch.setattr(handover.Path, "rename", fail_second)
    with pytest.raises(OSError, match="broken"), write_directory(out) as tmp:
        fill(tmp)
    assert (out / "weights").read_text() == "old"
    assert listing(tmp_path) == ["out"]


def test_what_a_killed_process_left_is_cleared(tmp_path):
    fill_me = tmp_path / ".out.tmp"
    fill_me.mkdir()
    (fill_me / "half").write_text("")
    with write_directory(tmp_path / "out") as tmp:
        fill(tmp)
    assert listing(tmp_path / "out") == ["run.json", "weights"]
    assert listing(tmp_path) == ["out"]


def test_files_of_the_users_own_are_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds files that no stage wrote"):
        check_output_dir(tmp_path)
    with pytest.raises(UserError, match=r"no stage wrote"), write_directory(tmp_path):
        raise AssertionError("must not be reached")
    assert listing(tmp_path) == ["thesis.tex"]


def test_an_output_directory_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        check_output_dir(tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, so the answer is made
    with pytest.raises(UserError, match=rf"cannot write to {tmp_path}"):
        check_output_dir(tmp_path / "a" / "b")


# --- what the next stage checks


@pytest.fixture
def handed_over(tmp_path, tokenizer):
    record = run_record("sft", {"seed": 3}, tokenizer, 3, 550, {"train": {"rows": 2}}, results={"loss": 1.5})
    save_run(tmp_path, record)
    return tmp_path


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
    with pytest.raises(UserError, match=r"run.json is no valid JSON"):
        read_run(tmp_path)


def test_the_local_directory_counts_as_soon_as_there_is_something_in_it(tmp_path, gptj_dir):
    assert find_model(gptj_dir, "owner/name") == str(gptj_dir)
    assert find_model(tmp_path, "owner/name") == "owner/name"
    (tmp_path / "config.json").write_text("{}")
    assert find_model(tmp_path, "owner/name") == str(tmp_path)


# --- weights


def change(source, target, edit):
    shutil.copytree(source, target)
    weights = load_file(target / "model.safetensors")
    edit(weights)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_weights_load_as_saved(gptj_dir, gpt2_dir):
    for directory in (gptj_dir, gpt2_dir):
        model = load_causal_lm(directory)
        assert has_keep_from(model)
        saved = load_file(directory / "model.safetensors")
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in saved.items())
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_old_mask_buffers_are_tolerated(gptj_dir, tmp_path, capfd):
    def edit(weights):
        weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
        weights["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e9)

    load_causal_lm(change(gptj_dir, tmp_path / "old", edit))
    assert "UNEXPECTED" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop("lm_head.bias"), r"keys 1 missing: lm_head.bias$"),
        (lambda w: w.update({"v_head.weight": torch.zeros(1, 32)}), r"1 not part of the model: v_head.weight$"),
        (
            lambda w: w.update({"transformer.ln_f.weight": torch.zeros(7)}),
            r"of another shape: transformer.ln_f.weight \(7,\), expected \(32,\)",
        ),
        (lambda w: w.update({"transformer.h.0.attn.q_proj.bias": torch.zeros(32)}), r"not part .*q_proj.bias"),
    ],
)
def test_weights_that_do_not_fit_are_named(gptj_dir, tmp_path, edit, message):
    with pytest.raises(UserError, match=message):
        load_causal_lm(change(gptj_dir, tmp_path / "changed", edit))


def test_damaged_and_absent_weights(gptj_dir, tmp_path):
    shutil.copytree(gptj_dir, tmp_path / "half")
    with (tmp_path / "half" / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    for load in (load_causal_lm, state_dict_of):
        with pytest.raises(UserError, match="damaged"):
            load(tmp_path / "half")
    (tmp_path / "half" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no whole model"):
        load_causal_lm(tmp_path / "half")
    with pytest.raises(UserError, match="no weights at"):
        state_dict_of(tmp_path / "half")
    with pytest.raises(UserError, match="does not exist"):
        load_causal_lm(tmp_path / "nowhere")


def test_state_dict_of_every_format(gptj_dir, tmp_path):
    wanted = load_file(gptj_dir / "model.safetensors")
    torch.save(wanted, tmp_path / "pytorch_model.bin")
    load_causal_lm(gptj_dir).save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    for path in (gptj_dir, tmp_path, tmp_path / "pytorch_model.bin", tmp_path / "shards"):
        found = state_dict_of(path)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_pickle_with_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"x": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="damaged or no weight file"):
        state_dict_of(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_model_that_does_not_fit_its_tokenizer(tmp_path, tokenizer):
    small = load_causal_lm(make_model_dir(tmp_path / "small", gptj_config(50)))
    with pytest.raises(UserError, match=r"has \d+ tokens, but the model .*small embeds 50"):
        fit_to_tokenizer(small, tokenizer, 100)
    short = load_causal_lm(make_model_dir(tmp_path / "short", gpt2_config(len(tokenizer), positions=64)))
    with pytest.raises(UserError, match=r"max_length is 65 tokens, but the model .*short reads 64"):
        fit_to_tokenizer(short, tokenizer, 65)
    fit_to_tokenizer(short, tokenizer, 64)
    assert short.config.pad_token_id == short.generation_config.pad_token_id == tokenizer.pad_token_id


def test_a_hub_model_without_a_network_is_one_line():
    with pytest.raises(UserError, match=r"'EleutherAI/gpt-j-6B'.*cannot be reached.*quickstart") as caught:
        load_causal_lm("EleutherAI/gpt-j-6B")
    assert "\n" not in str(caught.value)
