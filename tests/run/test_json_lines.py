"""A run's log: cut back to what a checkpoint knew, never extended, always valid JSON."""

import json

import pytest

from summarize_rlhf.run.json_lines import EMPTY, JsonLines


@pytest.fixture
def log(tmp_path) -> JsonLines:
    made = JsonLines(tmp_path / "run" / "metrics.jsonl")
    made.restore(EMPTY)
    made.append({"step": i, "text": "é"} for i in range(3))
    return made


def steps(log: JsonLines) -> list[int]:
    return [json.loads(line)["step"] for line in log.path.read_text(encoding="utf-8").splitlines()]


def test_later_lines_are_cut_without_a_word(log, capsys):
    state = log.state()
    log.append([{"step": 3}])
    with log.path.open("a") as file:
        file.write('{"step": 4, "to')
    log.restore(state)
    assert steps(log) == [0, 1, 2]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("spoil", "left"),
    [
        (lambda content: b"", []),
        (lambda content: content[:-5], [0, 1]),
        (lambda content: content[:30] + b"\0" * 20 + content[50:], [0, 2]),
        (lambda content: content.replace(b'"step": 1', b'"step": 7'), [0, 7, 2]),
    ],
)
def test_a_damaged_log_is_told_and_what_remains_is_json(log, capsys, spoil, left):
    state, content = log.state(), log.path.read_bytes()
    log.path.write_bytes(spoil(content))
    log.restore(state)
    assert steps(log) == left
    assert f"{log.path} is not what the checkpoint knew" in capsys.readouterr().out


def test_a_missing_log_is_told(log, capsys):
    state = log.state()
    log.path.unlink()
    log.restore(state)
    assert log.path.read_bytes() == b""
    assert "the 0 whole lines stay" in capsys.readouterr().out
