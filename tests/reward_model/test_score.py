"""Scoring a file: each row's own score in its place, whatever the format, the batch, the order, or a kill."""

import gzip
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from launch import flags
from tiny import sentence, write_rows

from reward_model.reward_model import RewardModel
from reward_model.score_file import write_line
from reward_model.scoring import Scorer
from summarize_rlhf.handover import run_record, save_run
from summarize_rlhf.report import as_csv
from summarize_rlhf.run.kept import SUFFIX
from summarize_rlhf.tokenizer import load_tokenizer


def make_reward_model(folder: Path, gptj_dir: Path, seed: int) -> Path:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    model = RewardModel.from_causal_lm(gptj_dir)
    torch.nn.init.normal_(model.v_head.weight)
    model.save(folder)
    tokenizer = load_tokenizer(gptj_dir)
    tokenizer.save_pretrained(folder)
    save_run(folder, run_record("rm", {}, tokenizer, 0, 200, {}))
    return folder


@pytest.fixture(scope="module")
def rm_dir(gptj_dir, tmp_path_factory) -> Path:
    return make_reward_model(tmp_path_factory.mktemp("rm"), gptj_dir, 1)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    """Texts of 8 to 300 tokens (the longest lose the end of their post), one twice, one empty, and other columns."""
    rng = random.Random(0)
    made = [
        {
            "id": i,
            "prompt": f"SUBREDDIT: r/pets\nPOST: {sentence(rng, rng.choice([1, 5, 30, 120]))}" + "\nTL;DR:" * (i % 2),
            "summary": sentence(rng, rng.randint(1, 30)),
            "who": {"name": "sft", "score": None},
        }
        for i in range(40)
    ]
    made[7]["summary"] = ""
    made[30] |= {"prompt": made[3]["prompt"], "summary": made[3]["summary"]}
    return made


def score(server, rm_dir: Path, source: Path, output: Path, **more):
    return server.run("score", flags({"reward_model": rm_dir, "input": source, "output": output, **more}), Path.cwd())


def scored(output: Path) -> list[dict]:
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_each_row_has_its_own_score_in_its_place(server, rm_dir, rows, tmp_path):
    """Against one text at a time; in fp32 to 1e-5 of a score, whatever is batched with it and in whatever order."""
    write_rows(tmp_path / "in.jsonl", rows)
    write_rows(tmp_path / "back.jsonl", rows[::-1])
    scorer = Scorer.from_pretrained(rm_dir)
    alone = [scorer.score([row["prompt"]], [row["summary"]]).item() for row in rows]
    for name, batch_tokens in (("in", 16384), ("in", 250), ("in", 1), ("back", 900)):
        output = tmp_path / f"{name}{batch_tokens}.jsonl"
        ended = score(server, rm_dir, tmp_path / f"{name}.jsonl", output, batch_tokens=batch_tokens)
        assert ended.code == 0, ended.err
        found = scored(output)
        found = found if name == "in" else found[::-1]
        assert [{k: x for k, x in row.items() if k != "score"} for row in found] == rows
        assert [row["score"] for row in found] == pytest.approx(alone, rel=1e-5, abs=1e-5)
    assert f"wrote {output}: 40 rows, mean score {sum(alone) / 40:.3f}" in ended.out
    assert len({row["score"] for row in found}) == 39  # one text is there twice


def test_pairs_share_their_post_and_every_format_is_read(server, rm_dir, tmp_path):
    """The longer summary makes both lose the end of their post, as in training and in the reward test."""
    rng = random.Random(1)
    pairs = [
        {"prompt": f"POST: {sentence(rng, 150)}", "chosen": f"TL;DR: {sentence(rng, n)}", "rejected": sentence(rng, 3)}
        for n in (60, 4)
    ]
    write_rows(tmp_path / "a.jsonl", pairs)
    (tmp_path / "b.json").write_text(json.dumps(pairs))
    (tmp_path / "c.csv").write_text(as_csv(pairs))
    with gzip.open(tmp_path / "d.jsonl.gz", "wt") as file:
        file.write((tmp_path / "a.jsonl").read_text())
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(pairs), tmp_path / "e.parquet")
    names = ("a.jsonl", "b.json", "c.csv", "d.jsonl.gz", "e.parquet")
    for name in names:
        ended = score(server, rm_dir, tmp_path / name, tmp_path / f"{name}.scored", max_length=120)
        assert ended.code == 0, ended.err
    outputs = [(tmp_path / f"{name}.scored").read_text() for name in names]
    assert len(set(outputs)) == 1
    first, second = scored(tmp_path / "a.jsonl.scored")
    assert first.keys() == {"prompt", "chosen", "rejected", "chosen_score", "rejected_score"}
    alone = Scorer.from_pretrained(rm_dir, max_length=120).score([pairs[0]["prompt"]], [pairs[0]["rejected"]]).item()
    assert abs(first["rejected_score"] - alone) > 1e-3  # under another cut
    assert second["chosen_score"] != second["rejected_score"]


def test_after_a_kill_it_goes_on_to_the_same_bytes(server, rm_dir, tmp_path):
    """Killed twice, once with a torn line and a damaged one; no whole batch is computed again."""
    rng = random.Random(2)
    made = [{"prompt": f"POST: {sentence(rng, rng.randint(1, 40))}", "summary": sentence(rng, 9)} for _ in range(600)]
    write_rows(tmp_path / "in.jsonl", made)
    assert score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "whole.jsonl", batch_tokens=200).code == 0
    part = tmp_path / "out.jsonl.part"
    values = {"reward_model": rm_dir, "input": tmp_path / "in.jsonl", "output": tmp_path / "out.jsonl"}
    counts = []
    for least in (3, 20):
        started = server.start("score", flags(values | {"batch_tokens": 200}), tmp_path)
        while not part.exists() or part.read_text().count("\n") < least:
            assert started.poll() is None, (started.folder / "err").read_text()
            time.sleep(0.001)
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        lines = part.read_text().splitlines(keepends=True)
        counts.append(len(lines))
        part.write_text("".join([lines[0], lines[1].replace("[", "[ 9,", 1), *lines[2:-1], lines[-1][:9]]))
    assert not (tmp_path / "out.jsonl").exists()
    ended = score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_tokens=200)
    assert ended.code == 0, ended.err
    assert f"{part}: 2 of {counts[-1]} batches are damaged and scored again" in ended.out
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    names = {"in.jsonl", "out.jsonl", "whole.jsonl", f"out.jsonl{SUFFIX}", f"whole.jsonl{SUFFIX}"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert "is there already" in score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "out.jsonl").out


def test_batches_of_another_size_that_are_known_in_part_are_completed(server, rm_dir, rows, tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_rows(source, rows)
    assert score(server, rm_dir, source, output).code == 0
    expected = [row["score"] for row in scored(output)]
    output.unlink()
    (tmp_path / f"out.jsonl{SUFFIX}").rename(tmp_path / f"out.jsonl.part{SUFFIX}")
    (tmp_path / "out.jsonl.part").write_text(write_line([2], expected[2:3]))
    assert score(server, rm_dir, source, output).code == 0
    assert [row["score"] for row in scored(output)] == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("ending", ["", ".part"])
def test_another_input_or_model_under_the_same_output_is_refused(server, rm_dir, gptj_dir, rows, tmp_path, ending):
    """Finished or begun; --fresh replaces it."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_rows(source, rows)
    assert score(server, rm_dir, source, output).code == 0
    expected = output.read_text()
    if ending:
        output.rename(f"{output}.part")
        (tmp_path / f"out.jsonl{SUFFIX}").rename(tmp_path / f"out.jsonl.part{SUFFIX}")
    there = f"error: {output}{ending} is there, made from another "
    other = make_reward_model(tmp_path / "rm", gptj_dir, 2)
    assert score(server, other, source, output).error.startswith(f"{there}reward model: name another --output")
    write_rows(source, rows[1:])
    assert score(server, rm_dir, source, output).error.startswith(f"{there}input: ")
    write_rows(source, [*rows[:3], rows[3] | {"id": 99}, *rows[4:]])  # what is carried through counts
    assert score(server, rm_dir, source, output).error.startswith(f"{there}input: ")
    write_rows(source, rows)
    assert score(server, rm_dir, source, output, max_length=100).error.startswith(f"{there}max_length: ")
    assert score(server, rm_dir, source, output, fresh=True).code == 0
    assert output.read_text() == expected


def test_a_start_that_kept_no_score_stands_in_nobodys_way(server, rm_dir, gptj_dir, rows, tmp_path):
    """A reward model that gave NaN is mended: the same command goes through."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_rows(source, rows)
    broken = RewardModel.from_pretrained(make_reward_model(tmp_path / "rm", gptj_dir, 2))
    torch.nn.init.constant_(broken.v_head.weight, float("nan"))
    (tmp_path / "rm/run.json").unlink()
    broken.save(tmp_path / "rm")
    save_run(tmp_path / "rm", run_record("rm", {}, load_tokenizer(gptj_dir), 0, 200, {}))
    assert "gave nan" in score(server, tmp_path / "rm", source, output).error
    assert score(server, rm_dir, source, output).code == 0
    assert len(scored(output)) == 40


def test_what_is_no_output_of_ours_is_never_replaced(server, rm_dir, rows, tmp_path):
    write_rows(tmp_path / "in.jsonl", rows)
    (tmp_path / "mine.jsonl").write_text("mine")
    ended = score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "mine.jsonl")
    assert f"{tmp_path}/mine.jsonl is there, and nothing says what it was made from" in ended.error
    assert (tmp_path / "mine.jsonl").read_text() == "mine"
    assert "it is the input" in score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "in.jsonl").error
    assert "it is a directory" in score(server, rm_dir, tmp_path / "in.jsonl", tmp_path).error
    assert score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "out.jsonl").code == 0
    (tmp_path / "out.jsonl").write_text((tmp_path / "out.jsonl").read_text().replace("score", "sc0re"))
    assert "is not what was written" in score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "out.jsonl").error


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "a", "text": "b"}, "row 2: expected an object with columns, found"),
        ({"prompt": "a", "summary": 3}, "row 2: column 'summary' should be text, but is int"),
        ({"summary": "b"}, "row 2: no column 'prompt'"),
        ({"prompt": "  ", "summary": "b"}, "row 2: column 'prompt' is empty"),
        ({"prompt": "a", "summary": "b", "score": 1}, "row 2: there is a column 'score' already"),
        ({"prompt": "a", "summary": "\ud83d"}, "row 2: column 'summary' holds half a character"),
        ({"prompt": "a", "summary": "word " * 300}, "row 2: a summary needs"),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(server, rm_dir, tmp_path, row, told):
    first, second = {"prompt": "a", "summary": "b"}, [1] if "object" in told else row
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    assert f"in.jsonl, {told}" in score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "out.jsonl").error
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_without_anything_to_score_are_refused(server, rm_dir, tmp_path):
    write_rows(tmp_path / "in.jsonl", [{"prompt": "a", "chosen": "b"}])
    ended = score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert "expected a column 'summary', or 'chosen' and 'rejected'; it has 'prompt', 'chosen'" in ended.error
    write_rows(tmp_path / "in.jsonl", [{"prompt": "a", "summary": "b", "chosen": "b", "rejected": "b"}])
    assert "'rejected', but not all" in score(server, rm_dir, tmp_path / "in.jsonl", tmp_path / "out.jsonl").error


def test_help_is_enough(server, tmp_path):
    out = server.run("score", ["--help"], tmp_path).out
    for words in (
        "--reward_model DIR --input FILE.jsonl",
        "`chosen` and `rejected`",
        "--batch_tokens",
        "goes on after",
    ):
        assert words in out
