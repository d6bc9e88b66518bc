"""The guard around readers of outside input, and what a console is shown of a text from outside."""

import json
import pickle

import pytest
import torch
import yaml
from safetensors import SafetensorError

from summarize_rlhf import UserError
from summarize_rlhf.reading import printable, reading, reason
from summarize_rlhf.report import as_csv, from_cell, print_samples
from summarize_rlhf.run.errors import main_guard


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (json.JSONDecodeError("Expecting value", "x", 0), "Expecting value: line 1 column 1"),
        (KeyError("weight_map"), "KeyError: 'weight_map'"),
        (RecursionError("maximum recursion depth exceeded"), "maximum recursion depth exceeded"),
        (yaml.YAMLError("while parsing a block"), "while parsing a block"),
        (SafetensorError("Error while deserializing header"), "Error while deserializing header"),
        (EOFError(), "EOFError"),
        (ZeroDivisionError("division by zero"), "division by zero"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (pickle.UnpicklingError("\x1b[1mdo those steps only if you trust it"), "a pickle that holds more than tensors"),
        (TypeError("Validation error for field 'n_head':\n    expected int"), "for field 'n_head': expected int"),
        (ValueError("\n" + "x" * 9000), "x" * 300),
    ],
)
def test_whatever_a_reader_raises_is_one_line_with_the_inputs_name(error, said):
    with pytest.raises(UserError) as told, reading("some/file.json", "config", "copy it again"):
        raise error
    assert str(told.value).startswith("cannot read the config some/file.json: ")
    assert said in str(told.value)
    assert str(told.value).endswith("; copy it again")
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 400
    assert told.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), OSError(12, "Cannot allocate memory")]
)
def test_memory_that_does_not_suffice_is_no_damage(error):
    told = pytest.raises(UserError, match=r"the weights w\.bin does not fit into the memory that is left")
    with told, reading("w.bin", "weights"):
        raise error


def test_what_torch_says_of_memory_on_a_cpu():
    with pytest.raises(UserError, match="does not fit into the memory"), reading("w.bin", "weights"):
        torch.empty(2**50)


def test_what_is_ours_passes():
    with pytest.raises(UserError, match=r"^said already$"), reading("x", "y"):
        raise UserError("said already")
    with pytest.raises(KeyboardInterrupt), reading("x", "y"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, née Ω 漢字 👩‍👩‍👧", "plain, née Ω 漢字 👩‍👩‍👧"),
        ("red \x1b[31mtext\x1b[0m", r"red \x1b[31mtext\x1b[0m"),
        ("title \x1b]0;owned\x07", r"title \x1b]0;owned\x07"),
        ("C1 \x9b31m", r"C1 \x9b31m"),
        ("over\rwritten\b", r"over\rwritten\x08"),
        ("abc\u202egnp.exe", r"abc\u202egnp.exe"),
    ],
)
def test_a_console_shows_what_it_would_obey(text, shown, capsys):
    assert printable(text) == shown
    print_samples([{"post": text}])
    assert "\x1b" not in capsys.readouterr().out


@main_guard
def a_stage(error: Exception, cause: Exception | None) -> None:
    raise error from cause


def test_the_line_names_a_file_with_the_traceback(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit):
        a_stage(UserError("cannot read \x1b[31mit"), KeyError("deep inside"))
    told = capsys.readouterr().err
    (kept,) = tmp_path.rglob("traceback-*.txt")
    assert told == f"error: cannot read \\x1b[31mit (traceback: {kept})\n"
    assert "KeyError: 'deep inside'" in kept.read_text()
    assert kept.parent.stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("cause", [None, FileNotFoundError(2, "No such file"), UserError("inner")])
def test_where_the_line_says_enough_no_file_is_written(capsys, tmp_path, monkeypatch, cause):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit):
        a_stage(UserError("no data"), cause)
    assert capsys.readouterr().err == "error: no data\n"
    assert list(tmp_path.iterdir()) == []


def test_a_bug_of_ours_keeps_its_traceback():
    with pytest.raises(KeyError, match="ours"):
        a_stage(KeyError("ours"), None)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "\rx", "'=1", "''-1"])
def test_a_cell_is_no_formula_and_comes_back(text):
    (_, cell) = as_csv([{"summary": text}]).split("\r\n", 1)[0:2]
    cell = cell.removesuffix("\r\n").strip('"')
    assert cell == f"'{text}"
    assert from_cell(cell) == text


@pytest.mark.parametrize("value", ["plain", "it's", "'quoted'", "1 - 1", "", -1.5, 3])
def test_other_cells_stay(value):
    assert as_csv([{"x": value}]).splitlines()[1] == (str(value) or '""')
    assert from_cell(str(value)) == str(value)


def test_reasons_of_nothing():
    assert reason(ValueError("")) == "ValueError"
