"""Where an evaluation is written; test sets of one post, and of one post twice."""

import json

import pytest
from evaluated import NEW, table
from stage_models import ROOM
from tiny import write_rows

from summarize_rlhf import UserError
from summarize_rlhf.data import load_rows
from summarize_rlhf.lm.evaluation_files import check_evaluation_dir, one_row_a_post, write_evaluation


def evaluation(*models: str, way: str = "greedy") -> dict[str, str]:
    record = json.dumps({"ways": {way: {"models": {name: {} for name in models}}}})
    return {"evaluation.json": record, "samples.jsonl": "", **{f"{name.lower()}_{way}.csv": "" for name in models}}


@pytest.mark.parametrize("files", [["samples.jsonl", "run.json"], ["run.json", "evaluation.json"], ["samples.jsonl"]])
def test_a_stages_directory_is_refused(tmp_path, files):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=rf"is a stage's \({files[0]} is in it\): name another --output_dir"):
        check_evaluation_dir(tmp_path)


def test_an_earlier_evaluation_is_replaced_with_all_its_summaries(tmp_path):
    (tmp_path / "mine.csv").write_text("kept")
    write_evaluation(tmp_path, evaluation("SFT", "old", way="sample"))
    check_evaluation_dir(tmp_path)
    write_evaluation(tmp_path, evaluation("sft", "new"))
    names = {"evaluation.json", "samples.jsonl", "mine.csv"}
    assert {file.name for file in tmp_path.iterdir()} == names | {"sft_greedy.csv", "new_greedy.csv"}


@pytest.mark.parametrize("content", ["{", "[]", '{"ways": 5}', '{"ways": {"greedy": {"models": {"../mine": {}}}}}'])
def test_what_no_evaluation_wrote_is_left_alone(tmp_path, content):
    (tmp_path / "mine_greedy.csv").write_text("kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/evaluation.json").write_text(content)
    write_evaluation(tmp_path / "out", evaluation("sft"))
    assert (tmp_path / "mine_greedy.csv").exists()
    assert (tmp_path / "out/sft_greedy.csv").exists()


def test_one_row_a_post(tmp_path):
    rows = [{"prompt": f"POST: {post}{end}", "label": str(i)} for i, (post, end) in enumerate(
        [("a", "\nTL;DR:"), ("b", "\nTL;DR:"), ("a", "\n\nTL;DR: "), ("c", "\nTL;DR:"), ("b", "\nTL;DR:")]
    )]  # fmt: skip
    write_rows(tmp_path / "rows.jsonl", rows)
    found, repeated = one_row_a_post(load_rows(tmp_path / "rows.jsonl", "test", ["prompt", "label"]))
    assert (found["label"][:], repeated) == (["0", "1", "3"], 2)


def test_one_post_twice_is_one_post(folder, server):
    """Figures without intervals and no verdict; both JSON files are JSON, without NaN."""
    row = json.loads((folder / "data/test.jsonl").read_text().splitlines()[0])
    write_rows(folder / "twice.jsonl", [row, row])
    values = ["--models", *(f"{name}={folder / name}" for name in ("sft", "ppo")), "--reward_model", folder / "rm"]
    values += ["--dataset", "twice.jsonl", "--max_length", ROOM, "--max_new_tokens", NEW, "--output_dir", "of_one"]
    ended = server.run("tables", values, folder)
    assert ended.code == 0, ended.err[-3000:]
    assert "1 rows whose post an earlier row has are left out" in ended.out
    assert "1 post is too few to detect any difference" in ended.out
    assert "nan" not in ended.out
    assert len(table(folder / "of_one", "ppo_greedy")) == 1

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for name in ("evaluation", "inference"):
        record = json.loads((folder / f"of_one/{name}.json").read_text(), parse_constant=refuse)
    assert (record["reward_gain"]["greedy"]["low"], record["kl"]["greedy"]["se"]) == (None, None)
