"""`python -m summarize_rlhf.doctor`: what it prints, what it writes, how it ends."""

import json
import sys

import pytest

from summarize_rlhf.doctor import __main__ as command
from summarize_rlhf.doctor.verdict import print_line


@pytest.fixture
def run(tmp_path):
    """A stage 2 that is no better than chance."""
    (tmp_path / "rm").mkdir()
    (tmp_path / "rm/run.json").write_text(json.dumps({"stage": "rm", "data": {"test": {"rows": 100}}}))
    (tmp_path / "rm/metrics.jsonl").write_text(json.dumps({"step": 5, "eval_accuracy": 0.5, "eval_loss": 0.7}) + "\n")
    return tmp_path


def test_rows_and_words(run, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["doctor", str(run), "--logs", "--json", str(run / "out/doctor.json")])
    command.main()
    out = capsys.readouterr().out
    assert "reward model: broken, undertrained\n    evidence: accuracy 0.500 on 100 pairs" in out
    assert out.splitlines()[-1].startswith("doctor: reward model broken, undertrained: accuracy 0.500")
    (row,) = json.loads((run / "out/doctor.json").read_text())
    assert list(row) == ["stage", "status", "cause", "evidence", "next"]
    assert (row["stage"], row["status"], row["cause"]) == ("rm", "broken", "undertrained")


def test_a_folder_without_stages_is_one_line(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["doctor", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2
    assert "holds no finished stage" in capsys.readouterr().err


def test_weights_that_are_missing_are_told_and_the_logs_still_speak(run, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["doctor", str(run)])
    command.main()
    out = capsys.readouterr().out
    assert f"note: {run / 'rm'} was not probed: " in out
    assert "undertrained" in out


def test_the_precision_reaches_the_probes(run, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(command, "probe", lambda _, precision: asked.append(precision) or [])
    for more in ([], ["--precision", "bf16"]):
        monkeypatch.setattr(sys, "argv", ["doctor", str(run), *more])
        command.main()
    assert asked == ["auto", "bf16"]


def test_the_line_at_a_stage_s_end_never_ends_it(run, capsys) -> None:
    print_line(run / "rm")
    assert capsys.readouterr().out.startswith("doctor: reward model broken")
    (run / "rm/metrics.jsonl").write_text("{torn")
    print_line(run / "rm")
    assert capsys.readouterr().out == ""
