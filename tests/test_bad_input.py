"""Bad input of every kind, for every stage: what goes in, and the one line that comes out. Nothing is left behind."""

import re
import socket

import pytest
from bad_input import TABLE
from good_input import World, arguments

from summarize_rlhf.run.checkpoints import newest_complete
from summarize_rlhf.run.run_directory import MARKER


@pytest.fixture(scope="module")
def world(tmp_path_factory, gptj_dir, tldr_dir, comparisons_dir) -> World:
    return World(tmp_path_factory.mktemp("world"), gptj_dir, tldr_dir, comparisons_dir)


@pytest.mark.parametrize(
    ("stage", "fault", "told"), [(s, f, t) for s, _, f, t in TABLE], ids=[f"{s}-{n}" for s, n, *_ in TABLE]
)
def test_one_line_and_nothing_left(server, world, tmp_path, stage, fault, told) -> None:
    values = world.values(stage, tmp_path) | fault(world, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ended = server.run(stage, arguments(stage, values), tmp_path)
    assert ended.code == 2, ended.err[-3000:]
    assert any(words in ended.error for words in told.split("|")), ended.error
    left = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    kept = {
        path for path in left if path.name in ("label_scores.kept.json", MARKER)
    }  # stage 3's, whole and of use again
    assert {path: before.get(path) for path in left.keys() - kept} == {path: left[path] for path in left.keys() - kept}


@pytest.mark.parametrize("stage", ["sft", "rm"])
def test_a_gradient_that_is_no_number_ends_the_run(server, world, tmp_path, stage) -> None:
    """Before it spoils the weights; the checkpoint before it is whole."""
    much = {"learning_rate": 1e30, "warmup_steps": 0, "save_steps": 1, "max_grad_norm": 0, "max_steps": 9}
    ended = server.run(stage, arguments(stage, world.values(stage, tmp_path) | much), tmp_path)
    assert ended.code == 2, ended.err[-3000:]
    assert re.search(r"the gradient is (nan|inf) at step \d: lower --learning_rate", ended.error), ended.error
    assert newest_complete(tmp_path / "out-steps") is not None
    assert not (tmp_path / "out").exists()


def test_a_port_that_is_taken(server, world, tmp_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        launch = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        launch |= {"MASTER_PORT": str(taken.getsockname()[1])}
        ended = server.run("sft", arguments("sft", world.values("sft", tmp_path)), tmp_path, **launch)
    assert ended.code == 2
    assert f"the processes cannot meet at 127.0.0.1:{launch['MASTER_PORT']}" in ended.error
    assert "--master_port" in ended.error


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("[1, 2]", "the overrides should be an object"),
        ('{"train.seed": 1', "cannot read the overrides"),
        ("missing.yaml", "cannot read the overrides in missing.yaml"),
    ],
)
def test_overrides_that_are_none(server, tmp_path, argument, told) -> None:
    ended = server.run("ppo", [argument], tmp_path)
    assert ended.code == 2
    assert told in ended.error


def test_defaults_without_a_network_name_the_quickstart(server, tmp_path) -> None:
    """Each stage, as a newcomer starts it first."""
    for stage in ("sft", "rm", "ppo", "tables", "reward_test"):
        argv = [] if stage in ("ppo", "tables") else ["--output_dir", tmp_path / "out"]
        ended = server.run(stage, argv, tmp_path, WANDB_MODE="disabled")
        assert ended.code == 2, ended.err[-2000:]
        assert any(words in ended.error for words in ("quickstart.sh", "reward_model.download")), ended.error
