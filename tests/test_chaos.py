"""The short form of chaos.py: a signal, and kills in a checkpoint and elsewhere, in each stage; bit-equal at last."""

import os
import random
import signal
from pathlib import Path

import chaos
import psutil
import pytest

from summarize_rlhf.run.checkpoints import checkpoints, find_corruption
from summarize_rlhf.run.preemption import EXIT_CODE


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return chaos.make_inputs(tmp_path_factory.mktemp("chaos"))


def end_by_signal(process, case) -> None:
    """SIGTERM to one of the training processes, once there is a checkpoint: all write another one and end."""
    assert chaos.wait_for(process, lambda: chaos.newest_of(case) >= 0), chaos.output_of(process)[-2000:]
    newest = chaos.newest_of(case)
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if "LOCAL_RANK" in p.environ()]
    workers = [p for p in workers if any(name in " ".join(p.cmdline()) for name in ("train_", "trlx_gptj"))]
    os.kill(workers[-1].pid, signal.SIGTERM)
    process.wait(60)
    told = chaos.output_of(process)
    assert process.returncode == EXIT_CODE or f"exitcode  : {EXIT_CODE}" in told, told[-2000:]  # torchrun says it so
    assert "saved at step" in told
    assert chaos.newest_of(case) > newest
    assert not chaos.being_written(case)


def check_damage(checkpoint: Path) -> None:
    """A flipped bit and a missing byte in each of its files are seen, and told of by the file's name."""
    assert find_corruption(checkpoint) is None
    for file in [path for path in checkpoint.rglob("*") if path.is_file()]:
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 4
        for content in (bytes(flipped), whole[:-1]):
            file.write_bytes(content)
            assert str(file.relative_to(checkpoint)) in find_corruption(checkpoint)
        file.write_bytes(whole)
    assert find_corruption(checkpoint) is None


@pytest.mark.parametrize(("stage", "processes"), [("sft", 2), ("rm", 1), ("ppo", 2)])
def test_signalled_and_killed_a_run_ends_as_if_nothing_had_happened(server, inputs, tmp_path, stage, processes):
    """The launcher passes the signal's exit code on; kills need none."""
    expected = chaos.undisturbed(chaos.STAGES[stage](inputs, tmp_path / "undisturbed", processes), server.start_case)
    case = chaos.STAGES[stage](inputs, tmp_path / "cut", processes)
    end_by_signal(chaos.start(case), case)
    check_damage(checkpoints(case.checkpoints)[0])
    told: list[str] = []
    for while_saving in (True, False):
        process = server.start_case(case)
        where = chaos.kill_somewhere(process, case, random.Random(0), while_saving)
        if where is None:
            chaos.finish(process)
        told.append(str(where))
    chaos.finish(server.start_case(case))
    assert any(where != "None" for where in told), "it was never killed"
    assert chaos.differences(chaos.result_of(case), expected) == [], told
