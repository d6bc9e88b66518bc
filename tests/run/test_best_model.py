"""The model with the lowest loss on valid is the one that SFT writes, on any number of processes and after any kill."""

import json
import types
from pathlib import Path

import pytest
import torch
from forkserver import ForkServer
from launch import flags
from safetensors.torch import load_file
from torch import nn

from summarize_rlhf.run import checkpoints
from summarize_rlhf.run.best_model import WEIGHTS, BestModel
from summarize_rlhf.run.resume_point import drop_step_checkpoints
from summarize_rlhf.run.run_directory import MARKER

OVERFITS = {
    "max_length": 100, "global_batch_size": 4, "per_device_train_batch_size": 2, "per_device_eval_batch_size": 8,
    "max_train_rows": 16, "max_steps": 9, "learning_rate": 2e-2, "warmup_steps": 0, "eval_steps": 2, "save_steps": 4,
    "logging_steps": 1, "rouge_rows": 4, "max_new_tokens": 6, "report_to": "none", "gradient_checkpointing": False,
}  # fmt: skip
SETTINGS = {"x": 1}


def sft(server: ForkServer, model: Path, data: Path, out: Path, processes: int, **changes) -> types.SimpleNamespace:
    values = {"model": model, "dataset": data, "output_dir": out} | OVERFITS | changes
    ended = server.run("sft", flags(values), out.parent, processes)
    assert ended.code == 0, ended.err[-3000:]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return types.SimpleNamespace(
        weights=load_file(out / "model.safetensors"),
        record=json.loads((out / "run.json").read_text()),
        evals={line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line},
        samples=(out / "samples.jsonl").read_text(),
        rouge=[line["generated_rouge1"] for line in lines if "generated_rouge1" in line],
        out=out,
    )


@pytest.mark.parametrize(
    ("processes", "model", "changes"),
    [(1, "gpt2_dir", {}), (2, "gptj_dir", {"learning_rate": 0.15, "max_steps": 7})],
)
def test_the_best_is_what_a_run_that_ended_there_wrote(server, request, tldr_dir, tmp_path, processes, model, changes):
    """Its weights, its summaries, its ROUGE. `--keep last` is the run's end."""
    model = request.getfixturevalue(model)
    end = (OVERFITS | changes)["max_steps"]
    best = sft(server, model, tldr_dir, tmp_path / "best", processes, **changes)
    step = min(best.evals, key=best.evals.get)
    assert list(best.evals) == [*range(2, end, 2), end]
    assert step < end, best.evals
    assert best.record["kept"] == {"keep": "best", "step": step, "eval_loss": best.evals[step]}
    assert best.record["results"]["eval_loss"] == best.evals[step]
    assert best.record["steps"] == end
    assert {path.name for path in (tmp_path / "best-steps").iterdir()} == {"metrics.jsonl", MARKER}

    there = sft(server, model, tldr_dir, tmp_path / "there", processes, **changes | {"keep": "last", "max_steps": step})
    assert there.record["kept"] == {"keep": "last", "step": step, "eval_loss": best.evals[step]}
    assert best.weights.keys() == there.weights.keys()
    assert all(torch.equal(best.weights[name], there.weights[name]) for name in there.weights)
    assert (best.samples, best.rouge) == (there.samples, there.rouge)

    last = sft(server, model, tldr_dir, tmp_path / "last", processes, **changes, keep="last")
    assert last.record["kept"] == {"keep": "last", "step": end, "eval_loss": best.evals[end]}
    assert any(not torch.equal(best.weights[name], last.weights[name]) for name in last.weights)


# --- its folders


def model_of(value: float) -> nn.Module:
    """A trained weight, used twice, and a frozen one."""
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "frozen": nn.Linear(2, 2, bias=False)})
    model["b"] = model["a"]
    model["frozen"].requires_grad_(False)
    nn.init.constant_(model["a"].weight, value)
    return model


def evaluate(best: BestModel, step: int, loss: float) -> None:
    state = types.SimpleNamespace(global_step=step)
    best.on_evaluate(None, state, None, {"eval_loss": loss}, model_of(float(step)))


def checkpoint(best: BestModel, step: int) -> Path:
    path = best.folder / f"checkpoint-{step}"
    with checkpoints.write_checkpoint(path, SETTINGS, best.needs()) as tmp:
        (tmp / "x").write_text("x")
    best.drop_others()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_lowest_loss_is_kept_and_of_equal_ones_the_first(tmp_path):
    best = BestModel(tmp_path, SETTINGS)
    for step, loss in ((1, 3.0), (2, float("nan")), (3, 2.0), (4, 2.0), (5, 2.5)):
        evaluate(best, step, loss)
    assert best.found == {"step": 3, "eval_loss": 2.0}
    assert names(tmp_path) == ["best-3"]
    assert set(load_file(tmp_path / "best-3" / WEIGHTS)) == {"a.weight"}
    model = model_of(0.0)
    assert best.restore(model, 5) == 3
    assert model["b"].weight.unique().tolist() == [3.0]
    assert BestModel(tmp_path, SETTINGS).restore(model, 5) == 5


def test_a_checkpoint_keeps_the_best_of_its_time(tmp_path):
    """A run that goes on from it must find what it knew, though better ones were found after it."""
    best = BestModel(tmp_path, SETTINGS)
    evaluate(best, 1, 3.0)
    path = checkpoint(best, 1)
    evaluate(best, 2, 2.0)
    evaluate(best, 3, 1.0)
    assert names(tmp_path) == ["best-1", "best-3", "checkpoint-1"]
    checkpoint(best, 4)
    checkpoints.rotate(tmp_path, 1, 4)
    best.drop_others()
    assert names(tmp_path) == ["best-3", "checkpoint-4"]
    assert not path.exists()
    drop_step_checkpoints(tmp_path)
    assert names(tmp_path) == []


def test_a_checkpoint_whose_best_model_is_damaged_is_passed_over(tmp_path, capsys):
    best = BestModel(tmp_path, SETTINGS)
    evaluate(best, 1, 3.0)
    first = checkpoint(best, 1)
    evaluate(best, 2, 2.0)
    second = checkpoint(best, 2)
    assert checkpoints.newest_complete(tmp_path) == second
    file = tmp_path / "best-2" / WEIGHTS
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert checkpoints.newest_complete(tmp_path) == first
    assert f"passed over {second}: best-2 beside it: {WEIGHTS} is not what was written" in capsys.readouterr().out
