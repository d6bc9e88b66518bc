"""A mistake of the user's is one line, told by one process."""

import contextlib
import io
import os

import pytest
import torch
from forked import forked
from launch import free_port

from summarize_rlhf import UserError
from summarize_rlhf.run.errors import main_guard


@pytest.mark.parametrize(("rank", "printed"), [("0", "error: no such thing\n"), ("1", "")])
def test_a_user_error_is_one_line_and_exit_code_2(monkeypatch, capsys, rank, printed):
    @main_guard
    def main():
        raise UserError("no such thing")

    launch = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == printed


def join(rank: int, port: int) -> None:
    """Join a process group of two."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo")


def left_alone(port: int) -> tuple[int, str]:
    """The exit code and the words of a script whose other process ends while this one waits for it."""
    if os.fork() == 0:
        join(1, port)
        os._exit(0)

    @main_guard
    def main():
        join(0, port)
        torch.distributed.all_reduce(torch.ones(1))

    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            main()
        except SystemExit as end:
            return end.code, told.getvalue()


def test_a_process_that_is_lost_is_one_line_and_exit_code_1():
    code, told = forked(left_alone, free_port())
    assert code == 1
    assert told.startswith("error: another process of this launch does not answer (")
    assert told.endswith("the same command goes on from the last checkpoint\n")
    assert told.count("\n") == 1


def test_errors_of_another_kind_keep_their_traceback():
    @main_guard
    def main():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        main()
