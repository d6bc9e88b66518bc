"""Stage 1 as a user starts it: the documented command, in its folder, through the real launcher.

The launches share one model and one data set of 64 rows.
"""

import json
import math
import sys
import types

import pytest
import torch
from launch import deepspeed, flags, free_port, run
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sft.loss import SupervisedLM
from sft.summarize_dataset import PadRight, TLDRDataset
from summarize_rlhf.data import fingerprint, load_rows
from summarize_rlhf.handover import check_handover
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.tokenizer import load_tokenizer

FILES = [
    "README.md",
    "config.json",
    "generation_config.json",
    "metrics.jsonl",
    "model.safetensors",
    "run.json",
    "samples.jsonl",
    "tokenizer.json",
    "tokenizer_config.json",
]
TINY = {
    "max_length": 100,
    "global_batch_size": 16,
    "per_device_train_batch_size": 8,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "eval_steps": 4,
    "save_steps": 4,
    "logging_steps": 2,
    "rouge_rows": 6,
    "max_new_tokens": 10,
    "seed": 7,
}


def metrics_of(directory, key):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


def complaints(output):
    """Lines that warn, but for the launcher's own before our code runs."""
    lines = output.replace("\r", "\n").splitlines()
    words = ("warn", "deprecat", "mismatch", "built successfully")
    launchers = ("real_accelerator.py", "runner.py:")
    return [x for x in lines if any(w in x.lower() for w in words) and not any(own in x for own in launchers)]


@pytest.fixture(scope="module")
def arguments(gptj_dir, tldr_dir):
    return flags({"model": gptj_dir, "dataset": tldr_dir, **TINY})


@pytest.fixture(scope="module")
def trained(root, arguments, tmp_path_factory):
    """`cd sft && deepspeed train_gptj_summarize.py`: its directory and what it printed."""
    folder = tmp_path_factory.mktemp("sft")
    out = folder / "out"
    result = deepspeed(
        "train_gptj_summarize.py", [*arguments, "--output_dir", out, "--report_to", "none"], root / "sft"
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return types.SimpleNamespace(out=out, result=result, folder=folder)


def test_the_documented_command_writes_exactly_its_files(trained, gptj_dir, tldr_dir):
    assert sorted(path.name for path in trained.out.iterdir()) == FILES
    assert sorted(path.name for path in trained.folder.iterdir()) == ["out", "out-steps"]
    left = {path.name for path in (trained.folder / "out-steps").iterdir()}
    assert left == {"metrics.jsonl", "run_directory.json"}
    record = json.loads((trained.out / "run.json").read_text())
    assert sorted([*record["files"], "run.json"]) == FILES  # with their hashes
    assert record["stage"] == "sft"
    assert (record["seed"], record["max_length"], record["steps"], record["processes"]) == (7, 100, 8, 1)
    assert record["arguments"]["model"] == str(gptj_dir)
    assert record["arguments"]["adam_beta2"] == 0.95
    for split in ("train", "valid"):
        assert record["data"][split] == fingerprint(load_rows(tldr_dir, split, ["prompt", "label"]))
    assert record["results"]["eval_loss"] == metrics_of(trained.out, "eval_loss")[8]
    assert record["results"]["rows_cut"] == 0
    assert "\ndoctor: SFT " in trained.result.stdout


def test_it_learns_and_reports_every_number(trained):
    losses, evals = metrics_of(trained.out, "loss"), metrics_of(trained.out, "eval_loss")
    assert list(losses) == [2, 4, 6, 8]
    assert list(evals) == [4, 8]
    assert losses[8] < losses[2]
    assert evals[8] < evals[4]
    for line in (trained.out / "metrics.jsonl").read_text().splitlines():
        assert all(math.isfinite(value) for value in json.loads(line).values())
    assert set(metrics_of(trained.out, "generated_rouge1")) == {8}
    assert 0 <= metrics_of(trained.out, "generated_ended")[8] <= 1
    assert 1 <= metrics_of(trained.out, "generated_tokens")[8] <= TINY["max_new_tokens"]
    assert 0.1 < metrics_of(trained.out, "memory/peak_host_gb")[8] < 10


def test_nothing_complains(trained):
    assert complaints(trained.result.stdout + trained.result.stderr) == []


def test_the_model_loads_and_has_the_reported_loss(trained, tldr_dir):
    model = AutoModelForCausalLM.from_pretrained(trained.out).eval()
    tokenizer = AutoTokenizer.from_pretrained(trained.out)
    assert model.config.use_cache
    assert model.config.pad_token_id == tokenizer.pad_token_id
    data = TLDRDataset(load_rows(tldr_dir, "valid", ["prompt", "label"]), tokenizer, 100)
    with torch.no_grad():
        loss = SupervisedLM(model)(**PadRight(0)([data[i] for i in range(len(data))]))["loss"].item()
    assert loss == pytest.approx(metrics_of(trained.out, "eval_loss")[8], abs=1e-4)
    check_handover(trained.out, expects_stage="sft", tokenizer=load_tokenizer(trained.out))


def test_samples_are_what_the_model_writes(trained, tldr_dir):
    samples = [json.loads(line) for line in (trained.out / "samples.jsonl").read_text().splitlines()]
    rows = load_rows(tldr_dir, "valid", ["prompt", "label"], max_rows=6)
    assert [sample["label"] for sample in samples] == rows["label"]
    assert [sample["prompt"] for sample in samples] == rows["prompt"]
    assert "── sample 3 " in trained.result.stdout
    model, tokenizer = load_causal_lm(trained.out).eval(), load_tokenizer(trained.out)
    ids = tokenizer(samples[2]["prompt"], return_tensors="pt")
    output = model.generate(**ids, max_new_tokens=10, do_sample=False)[0, ids.input_ids.shape[1] :]
    assert tokenizer.decode(output, skip_special_tokens=True).strip() == samples[2]["summary"]


def test_two_processes_from_the_root_without_a_compiler_are_the_same(trained, root, arguments, tmp_path):
    """8 rows × 2 micro-batches on one process, or 8 × 1 on two: ZeRO-2 over gloo, PATH without g++ and ninja."""
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "env", "uname"):
        (tmp_path / "bin" / tool).symlink_to(f"/usr/bin/{tool}")
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--master_port", free_port(), "--num_gpus", 2]
    out = tmp_path / "out"
    result = run(
        [*command, "sft/train_gptj_summarize.py", *arguments, "--output_dir", out, "--report_to", "none"],
        root,
        PATH=str(tmp_path / "bin"),
        TORCH_EXTENSIONS_DIR=str(tmp_path / "extensions"),
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert not (tmp_path / "extensions").exists()
    assert complaints(result.stdout + result.stderr) == []
    assert json.loads((out / "run.json").read_text())["processes"] == 2
    for key in ("loss", "grad_norm", "eval_loss"):
        one, two = metrics_of(trained.out, key), metrics_of(out, key)
        assert one.keys() == two.keys()
        assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-4)
    assert (out / "samples.jsonl").read_text() == (trained.out / "samples.jsonl").read_text()
    one, two = load_file(trained.out / "model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.allclose(one[key], two[key], atol=1e-4) for key in one)


def test_the_same_command_says_that_it_was_finished(trained, server, arguments):
    """And changes nothing; under other settings it refuses by name; --fresh is told of."""
    before = {path.name: path.stat().st_mtime_ns for path in trained.out.iterdir()}
    again = server.run("sft", [*arguments, "--output_dir", trained.out, "--report_to", "none"], trained.folder)
    assert again.code == 0, again.err[-3000:]
    assert f"{trained.out} was finished before, by the same command; --fresh starts over" in again.out
    other = [*arguments, "--output_dir", trained.out, "--report_to", "none", "--learning_rate", "2e-3", "--seed", 8]
    refused = server.run("sft", other, trained.folder)
    assert refused.code == 2
    assert "learning_rate was 0.001, is 0.002; seed was 7, is 8. Going on would be another run" in refused.error
    assert {path.name: path.stat().st_mtime_ns for path in trained.out.iterdir()} == before


def test_wandb_offline_and_a_file_of_arguments_and_gpt2(server, gpt2_dir, tldr_dir, tmp_path):
    """The default tracker neither asks nor blocks; GPT-2 needs nothing of its own; a YAML file holds the arguments."""
    values = {"model": str(gpt2_dir), "dataset": str(tldr_dir), **TINY, "output_dir": str(tmp_path / "out")}
    (tmp_path / "run.yaml").write_text(json.dumps(values | {"loss_on": "summary", "rouge_rows": 0}))
    offline = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    ended = server.run("sft", [tmp_path / "run.yaml"], tmp_path, **offline)
    assert ended.code == 0, ended.err[-3000:]
    assert complaints(ended.out + ended.err) == []
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1
    assert json.loads((tmp_path / "out" / "run.json").read_text())["arguments"]["loss_on"] == "summary"


def test_real_text_trains(server, real_data, real_gptj_dir, tmp_path):
    """Two dozen steps on real posts of real lengths with the genuine GPT-2 vocabulary."""
    data = real_data / "openai_summarize_tldr"
    values = {"model": real_gptj_dir, "dataset": data, "output_dir": tmp_path / "out", "report_to": "none"}
    values |= {"max_train_rows": 200, "max_eval_rows": 8, "max_steps": 24, "rouge_rows": 4, "learning_rate": 3e-3}
    values |= {"global_batch_size": 2, "per_device_train_batch_size": 1, "per_device_eval_batch_size": 2}
    values |= {"warmup_steps": 2, "logging_steps": 6, "max_new_tokens": 8}
    ended = server.run("sft", flags(values), tmp_path, 1)
    assert ended.code == 0, ended.err[-3000:]
    assert complaints(ended.out + ended.err) == []
    losses = metrics_of(tmp_path / "out", "loss")
    assert list(losses) == [6, 12, 18, 24]
    assert losses[24] < losses[6] < math.log(50257) + 0.1
