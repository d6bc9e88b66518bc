"""Logs that are not as a stage writes them: NaN, nothing, foreign. Never a traceback, never a clean bill."""

import json
import math

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.doctor.evidence import load
from summarize_rlhf.doctor.verdict import examine, print_line

UPDATE = {"policy/approx_kl": 0.1, "policy/clipfrac": 0.1, "values/values_error": 1.0}


def stage(folder, name: str, lines: list[dict], record=None, **files: str):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"stage": name} | (record or {})))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    for file, text in files.items():
        (folder / f"{file}.jsonl").write_text(text)
    return folder


def causes(folder) -> list[tuple[str, str]]:
    return [(row["status"], row["cause"]) for row in examine(load([folder]))]


@pytest.mark.parametrize(
    ("name", "row"),
    [("sft", {"loss": math.nan, "learning_rate": 1e-3}), ("sft", {"eval_loss": math.inf}),
     ("rm", {"eval_accuracy": math.nan}), ("ppo", UPDATE | {"policy/approx_kl": math.nan}),
     ("ppo", {"policy/kl": math.inf})],
)  # fmt: skip
def test_a_figure_that_is_no_number_is_a_broken_stage(tmp_path, name, row):
    good = {"step": 1, "loss": 1.0, "learning_rate": 1e-3, "policy/kl": 0.1}
    stage(tmp_path, name, [good, {"step": 2} | row, good | row | {"step": 3}])
    (first, *_) = examine(load([tmp_path]))
    figure = next(figure for figure, x in row.items() if not math.isfinite(x))
    assert (first["status"], first["cause"]) == ("broken", "diverged")
    assert first["evidence"] == f"{figure} is {row[figure]} at step 2"


@pytest.mark.parametrize(
    ("name", "row"),
    [("rm", {"loss": 0.6, "learning_rate": 1e-3, "grad_norm": math.nan}),
     ("ppo", {"policy/kl": 0.1, "policy/gradient_norm": math.inf})],
)  # fmt: skip
def test_a_gradient_that_overflowed_in_fp16_is_no_fault(tmp_path, name, row):
    stage(tmp_path, name, [{"step": 1} | row])
    assert causes(tmp_path) == [("healthy", None)]


@pytest.mark.parametrize("lines", [[], [{}], [{"loss": None, "note": "x", "done": True}]])
@pytest.mark.parametrize("name", ["sft", "rm", "ppo"])
def test_without_a_log_there_is_no_clean_bill(tmp_path, name, lines):
    stage(tmp_path, name, lines)
    assert causes(tmp_path) == [("suspect", "nothing_logged")]
    (tmp_path / "metrics.jsonl").unlink()
    assert causes(tmp_path) == [("suspect", "nothing_logged")]


@pytest.mark.parametrize(
    ("name", "lines", "record", "files"),
    [
        ("sft", [{"loss": 1.0, "learning_rate": 1e-3}], {}, {}),  # no step
        ("sft", [5], {}, {}),
        ("sft", [{"step": 1}], {}, {"samples": '{"summary": "x", "label": "y"}\n'}),  # no prompt
        ("sft", [{"step": 1}], {"results": {"rows_cut": "half"}}, {}),
        ("rm", [{"step": 1, "eval_accuracy": 0.4}], {"data": {"test": {"rows": "many"}}}, {}),
        ("ppo", [{"step": 1}], {}, {"samples": '{"summary": "x"}\n'}),
        ("ppo", [{"policy/kl": 1.0}, UPDATE], {"arguments": {"method": {"ppo_epochs": "four"}}}, {}),
    ],
)
def test_foreign_logs_are_one_line_and_end_no_stage(tmp_path, capsys, name, lines, record, files):
    stage(tmp_path, name, lines, record, **files)
    with pytest.raises(UserError, match=rf"cannot read the .*{tmp_path.name}"):
        examine(load([tmp_path]))
    print_line(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("part", [None, [], "x", 5, math.nan])
def test_parts_of_a_record_that_are_no_objects_are_missing(tmp_path, part):
    line = {"step": 1, "loss": 0.6, "learning_rate": 1e-3, "eval_accuracy": 0.7, "policy/kl": 0.1}
    for name in ("sft", "rm", "ppo"):
        record = dict.fromkeys(("arguments", "results", "data", "settings"), part)
        record |= {"results": {"rows_cut": math.nan}} if part is None else {}
        folder = stage(tmp_path / name, name, [line], record)
    (tmp_path / "rm/card.json").write_text(json.dumps(dict.fromkeys(("accuracy", "other_post", "pairs"), part)))
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference/evaluation.json").write_text(json.dumps({"models": part}))
    assert {row["status"] for row in examine(load([tmp_path]))} == {"healthy"}
    assert folder.name == "ppo"


def test_a_gold_score_of_one_post_says_nothing(tmp_path):
    stage(tmp_path / "ppo", "ppo", [{"policy/kl": 0.1}])
    (tmp_path / "inference").mkdir()
    gold = {name: {"gold": {"value": x, "low": None, "high": None}} for name, x in (("sft", 2.0), ("ppo", 1.0))}
    (tmp_path / "inference/evaluation.json").write_text(json.dumps({"models": gold}))
    assert causes(tmp_path) == [("healthy", None)]
