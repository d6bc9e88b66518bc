"""What is kept beside checkpoints: checked before it is used, and made again where it is wrong."""

import multiprocessing
import time

import datasets
import pytest

from summarize_rlhf.run import kept
from summarize_rlhf.run.cached_rows import map_once

FROM = {"model": "a", "shape": (2, 3)}


@pytest.fixture
def file(tmp_path):
    """A kept file of 10,000 bytes."""
    path = tmp_path / "states.bin"
    kept.begin(path)
    path.write_bytes(bytes(range(250)) * 40)
    kept.finish(path, FROM)
    return path


def test_what_was_finished_is_usable(file, capsys):
    assert kept.is_usable(file, FROM)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:4096] + b"\0" * 4096 + f.read_bytes()[8192:]), "its hash differs"),
        (lambda f: f.write_bytes(f.read_bytes()[:-1]), "9999 bytes instead of 10000"),
        (lambda f: kept.record_of(f).unlink(), "not finished"),
        (lambda f: kept.record_of(f).write_text(""), "is damaged"),
        (lambda f: kept.record_of(f).write_text("[" * 100_000), "is damaged"),
        (lambda f: kept.record_of(f).write_text(kept.record_of(f).read_text().replace("10000", "10001")), "is damaged"),
        (lambda f: kept.begin(f) or f.write_bytes(b"half"), "not finished"),
        (lambda f: kept.finish(f, {"model": "b"}), "made from something else"),
    ],
)
def test_what_is_wrong_is_told_and_not_used(file, capsys, spoil, told):
    spoil(file)
    assert not kept.is_usable(file, FROM)
    lines = capsys.readouterr().out.splitlines()
    assert told in lines[0]
    assert f"{file} is made again" in lines[-1]


def test_what_is_not_there_needs_no_word(tmp_path, capsys):
    assert not kept.is_usable(tmp_path / "none", FROM)
    assert kept.read_value(tmp_path / "none") is None
    assert capsys.readouterr().out == ""


def test_values_come_back_and_all_can_be_dropped(file):
    kept.write_value(file.parent / "id", {"é": [1, 0.1]})
    assert kept.read_value(file.parent / "id") == {"é": [1, 0.1]}
    own = file.parent / "notes.json"
    own.write_text("the user's")
    kept.drop_all(file.parent)
    assert list(file.parent.iterdir()) == [own]


@pytest.mark.parametrize("spoil", [lambda content: content[:-3000], lambda content: b"", lambda content: b"x" * 9])
def test_tokenized_rows_that_are_damaged_are_made_again(tmp_path, monkeypatch, spoil):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    rows, calls = datasets.Dataset.from_dict({"x": list(range(2000))}), []

    def double(batch, places):
        calls.append(len(places))
        return {"y": [2 * x for x in batch["x"]]}

    assert map_once(rows, double, [])["y"][:] == list(range(0, 4000, 2))
    assert map_once(rows, double, [])["y"][:] == list(range(0, 4000, 2))
    assert sum(calls) == 2000
    (file,) = tmp_path.rglob("*.arrow")
    file.write_bytes(spoil(file.read_bytes()))
    assert map_once(rows, double, [])["y"][:] == list(range(0, 4000, 2))
    assert sum(calls) == 4000
    map_once(rows, double, [], fresh=True)
    assert sum(calls) == 6000


def test_two_runs_at_once_make_the_rows_once(monkeypatch, tmp_path):
    """As in a sweep. Both get as far as the cache before either has written to it."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    rows, calls, fork = (
        datasets.Dataset.from_dict({"x": [1, 2]}),
        tmp_path / "calls",
        multiprocessing.get_context("fork"),
    )
    both = fork.Barrier(2)

    def double(batch, places):
        with calls.open("a", encoding="utf-8") as file:
            file.write("x")
        time.sleep(1)
        return {"y": [2 * x for x in batch["x"]]}

    def run():
        both.wait(60)
        assert map_once(rows, double, [])["y"][:] == [2, 4]

    runs = [fork.Process(target=run) for _ in range(2)]
    for one in runs:
        one.start()
    for one in runs:
        one.join(60)
    assert [one.exitcode for one in runs] == [0, 0]
    assert calls.read_text(encoding="utf-8") == "x"
