"""The processes of a launch: what the environment says of them, and how a global batch is shared by them."""

import subprocess
import sys

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.run.launch import LAUNCHED, accumulation, check_environment

LAUNCH = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("batch", "per_device", "processes", "steps"),
    [(128, 16, 8, 1), (128, 16, 1, 8), (128, 16, 2, 4), (32, 1, 8, 4), (32, 1, 1, 32), (5, 5, 1, 1)],
)
def test_the_global_batch_is_kept(batch, per_device, processes, steps):
    assert accumulation(batch, per_device, processes) == steps


@pytest.mark.parametrize(
    ("batch", "per_device", "processes", "message"),
    [
        (128, 24, 1, r"128 cannot be made of 1 process\(es\) × 24 rows: a per-device batch of 16 .* 120 or 144"),
        (128, 16, 3, r"3 processes cannot share it evenly, or a global batch of 96 or 144"),
        (8, 16, 1, r"a per-device batch of 8 would do, or a global batch of 16$"),
    ],
)
def test_a_batch_that_does_not_divide_names_the_nearest(batch, per_device, processes, message):
    with pytest.raises(UserError, match=message):
        accumulation(batch, per_device, processes)


@pytest.mark.parametrize(
    "environment", [{}, LAUNCH, {"WORLD_SIZE": "1"}, {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}, {"RANK": ""}]
)
def test_launches_and_none_are_taken(environment):
    check_environment(environment)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "the Accelerate configuration asks for FSDP, which is not supported"),
        ({"RANK": "0"}, "RANK is set in the environment, but LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT is not"),
        ({"WORLD_SIZE": "2"}, "the environment has WORLD_SIZE=2 but no RANK, as if left over"),
        ({"LOCAL_RANK": "0"}, "the environment has LOCAL_RANK=0 but no RANK"),
        (LAUNCH | {"RANK": "x"}, "RANK in the environment should be a whole number, but is 'x'"),
        (LAUNCH | {"LOCAL_RANK": "-1"}, "LOCAL_RANK in the environment should be a whole number"),
        (LAUNCH | {"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE in the environment should be a whole number"),
        (LAUNCH | {"RANK": "2"}, "LOCAL_RANK=1, RANK=2, WORLD_SIZE=2, which is no process of a launch"),
        (LAUNCH | {"RANK": "0"}, "LOCAL_RANK=1, RANK=0, WORLD_SIZE=2, which is no process of a launch"),
        (LAUNCH | {"MASTER_PORT": "70000"}, "MASTER_PORT=70000 in the environment is no port"),
    ],
)
def test_an_environment_of_no_launch_is_refused(environment, message):
    with pytest.raises(UserError, match=message):
        check_environment(environment)


def test_every_script_checks_it_first(server, tmp_path):
    for stage in ("sft", "rm", "ppo", "tables", "reward_test"):
        ended = server.run(stage, [], tmp_path, RANK="x", **{name: "0" for name in LAUNCHED[1:]})
        assert (ended.code, ended.out) == (2, "")
        assert "RANK in the environment should be a whole number" in ended.error


def test_accelerate_that_starts_one_process_for_two_is_told(tmp_path):
    """Without a configuration and without a GPU it would train on half of what was asked for."""
    script = tmp_path / "script.py"
    script.write_text("from summarize_rlhf.run.launch import check_environment\ncheck_environment()\n")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", script]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "accelerate launch was asked for several processes, but" in ended.stderr
    one = subprocess.run([*command[:3], "--num_processes", "1", script], capture_output=True, text=True, cwd=tmp_path)
    assert one.returncode == 0, one.stderr
