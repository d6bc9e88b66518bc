"""Arguments of the tables that cannot be meant are one line; one post is summarised and nothing written."""

import pytest
from evaluated import NEW, table
from stage_models import ROOM


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--models", "sft"], "'sft' should be NAME=directory"),
        (["--models", "label=x"], "none of label, post, prompt"),
        (["--models", "a=x", "A=y"], "names 'A' twice"),
        (["--judge", "of_the_user:judge"], "--judge needs --judge_pairs"),
        (["--gold", "of_the_user"], "--gold should be module:function"),
        (["--best_of", "1"], "--best_of is 1"),
        (["--post", "not_there.txt"], "cannot read the post in not_there.txt"),
    ],
)
def test_wrong_arguments_are_one_line(folder, server, given, told):
    values = ["--sft_model", folder / "sft", "--ppo_model", folder / "ppo", "--reward_model", folder / "rm"]
    ended = server.run("tables", [*values, "--max_length", ROOM, "--max_new_tokens", NEW, *given], folder)
    assert ended.code == 2
    assert told in ended.error


def test_one_post(folder, server, out):
    """From a file: its summary by each model is the one of the test set; nothing is written."""
    row = table(out, "ppo_greedy")[0]
    (folder / "post.txt").write_text(row["prompt"])
    values = ["--models", f"sft={folder / 'sft'}", f"ppo={folder / 'ppo'}", "--reward_model", folder / "rm"]
    command = [*values, "--max_length", ROOM, "--max_new_tokens", NEW, "--post", "post.txt", "--output_dir", "never"]
    ended = server.run("tables", command, folder)
    assert ended.code == 0, ended.err[-3000:]
    assert f"{float(row['reward']):.3f}" in ended.out
    assert not (folder / "never").exists()
    (folder / "post.txt").write_text(" \n")
    assert "the post is empty" in server.run("tables", command, folder).error
