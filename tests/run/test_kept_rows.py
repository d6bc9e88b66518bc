"""Rows in chunks: shared, kept, resumed, and never taken from another run; answers as soon as they are given."""

import json

import pytest
from forked import forked

from summarize_rlhf import UserError
from summarize_rlhf.run import kept
from summarize_rlhf.run.kept_answers import KeptAnswers
from summarize_rlhf.run.kept_rows import KeptRows, identity
from summarize_rlhf.run.named_function import load_function, version_of


class Work:
    """Squares of the rows, or a stop when a row is reached; remembers what it was asked for."""

    def __init__(self, stop_at: int | None = None):
        self.stop_at, self.asked = stop_at, []

    def __call__(self, rows: list[int]) -> list[list[float]]:
        if self.stop_at in rows:
            raise KeyboardInterrupt
        self.asked += rows
        return [[row**2 / 3] for row in rows]


SQUARES = [[row**2 / 3] for row in range(10)]


def test_a_stopped_run_goes_on_at_its_chunk(tmp_path):
    rows = KeptRows(tmp_path / "kept", chunk=4)
    with pytest.raises(KeyboardInterrupt):
        rows.rows("a", 10, Work(stop_at=5), "model")
    again = Work()
    assert rows.rows("a", 10, again, "model") == SQUARES  # to the last bit
    assert again.asked == [4, 5, 6, 7, 8, 9]
    assert rows.rows("a", 10, Work(stop_at=0), "model") == SQUARES
    rows.drop()
    assert not (tmp_path / "kept").exists()
    rows.drop()


def test_what_was_made_from_something_else_is_made_again(tmp_path):
    rows = KeptRows(tmp_path, chunk=4)
    rows.rows("a", 10, Work(), ["model", 1])
    for name, count, made_from in (("a", 10, ["model", 2]), ("b", 10, ["model", 1]), ("a", 7, ["model", 1])):
        work = Work()
        assert rows.rows(name, count, work, made_from) == SQUARES[:count]
        assert work.asked == list(range(count))


def test_a_damaged_chunk_is_made_again(tmp_path, capsys):
    rows = KeptRows(tmp_path, chunk=4)
    rows.rows("a", 10, Work(), "model")
    record = kept.record_of(tmp_path / "a-4")
    record.write_text(record.read_text().replace("8.333", "9.333"))
    work = Work()
    assert rows.rows("a", 10, work, "model") == SQUARES
    assert work.asked == [4, 5, 6, 7]
    assert "is damaged" in capsys.readouterr().out


def share_of(rank: int, folder: str) -> list[int]:
    """The rows that one of three processes is asked for, with the others' answers made up."""
    from summarize_rlhf.run import kept_rows

    class State:
        is_main_process, process_index, num_processes = rank == 0, rank, 3

    kept_rows.PartialState = State
    kept_rows.broadcast_object_list = lambda values: values
    kept_rows.gather_object = lambda share: [(row, [row**2 / 3]) for row in (9, 0, *range(1, 9))]
    work = Work()
    assert KeptRows(folder, chunk=10).rows("a", 10, work, "model") == SQUARES
    return work.asked


def test_processes_share_a_chunk(tmp_path):
    shares = [forked(share_of, rank, str(tmp_path / str(rank))) for rank in range(3)]
    assert sorted(row for share in shares for row in share) == list(range(10))
    assert [len(share) for share in shares] == [4, 3, 3]


def test_a_model_that_was_written_again_is_another(tmp_path):
    (tmp_path / "weights").write_text("1")
    before = identity(tmp_path)
    assert identity(tmp_path) == before
    (tmp_path / "weights").write_text("23")
    assert identity(tmp_path) != before
    assert identity("owner/model") == ["owner/model"]


# --------------------------------------------------------------------------------------------------------- answers
def test_answers_outlive_a_kill_and_torn_or_changed_lines_do_not_count(tmp_path):
    file = tmp_path / "deep" / "answers.jsonl"
    answers = KeptAnswers(file)
    for number in range(3):
        answers["post", "a", str(number)] = number / 2
    lines = file.read_text().splitlines()
    changed = json.dumps(json.loads(lines[1]) | {"answer": 1.0})
    file.write_text("\n".join([lines[0], changed, "[" * 5000, lines[2][:20]]))
    again = KeptAnswers(file)
    assert again == {("post", "a", "0"): 0.0}
    again["post", "a", "2"] = 0.25
    assert KeptAnswers(file) == {("post", "a", "0"): 0.0, ("post", "a", "2"): 0.25}


# ------------------------------------------------------------------------------------------------- named functions
def test_a_function_beside_the_user_is_found(tmp_path, monkeypatch):
    (tmp_path / "of_mine_17.py").write_text("def judge(a):\n    return a + 1\n\nnumber = 1\n")
    monkeypatch.chdir(tmp_path)
    found = load_function("of_mine_17:judge", "--judge")
    assert found(1) == 2
    before = version_of("of_mine_17:judge")
    assert version_of("of_mine_17:other") != before  # of the same file
    (tmp_path / "of_mine_17.py").write_text("def judge(a):\n    return a + 2\n\nnumber = 1\n")
    assert version_of("of_mine_17:judge") != before
    (tmp_path / "stops_17.py").write_text("raise SystemExit(3)\n")
    for name, told in (
        ("stops_17:judge", "cannot be imported: SystemExit"),
        ("of_mine_17", "should be module:function"),
        ("of_mine_17:", "should be module:function"),
        (":judge", "should be module:function"),
        ("of_mine_17:other", "cannot be imported: AttributeError"),
        ("of_mine_17:number", "is a int: a function is needed"),
        ("not_there_17:judge", "cannot be imported: ModuleNotFoundError"),
    ):
        with pytest.raises(UserError, match=f"--judge .*{told}"):
            load_function(name, "--judge")


def test_a_function_is_another_one_when_what_its_file_imports_has_changed(tmp_path, monkeypatch):
    """What lies in a module by name, or is a module there; not what is installed, and not what is imported nowhere."""
    texts = {"within_18": "def judge():\n    return 1\n", "beside_18": "half = 0.5\n", "apart_18": "\n"}
    texts["front_18"] = "import json\nfrom numpy import mean\n\nimport beside_18\nfrom within_18 import judge\n"
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    load_function("front_18:judge", "--judge")
    before = version_of("front_18:judge")
    for name, other in (("apart_18", False), ("within_18", True), ("beside_18", True), ("front_18", True)):
        file = tmp_path / f"{name}.py"
        file.write_text(f"{texts[name]}\n# changed\n")
        assert (version_of("front_18:judge") != before) == other
        file.write_text(texts[name])
        assert version_of("front_18:judge") == before
    assert version_of("json:dumps") != version_of("math:sqrt")  # of Python's own, one of them built in
