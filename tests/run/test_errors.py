"""A mistake of the user's is one line, told by one process."""

import pytest

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
