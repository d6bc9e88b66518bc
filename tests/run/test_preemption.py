"""Signals: the first asks for a checkpoint, a second one ends at once, several at once are one."""

import os
import signal
import subprocess
import sys
import time

import pytest

from summarize_rlhf.run.preemption import EXIT_CODE, Preempted, Preemption

LISTENER = """
import sys, time
from summarize_rlhf.run import preemption
preemption.GRACE = float(sys.argv[1])
with preemption.Preemption() as asked:
    print("ready", flush=True)
    while not asked.agree()[0] or sys.argv[2] == "deaf":
        time.sleep(0.01)
    raise preemption.Preempted
"""


def listen(grace: float, ears: str = "good") -> subprocess.Popen:
    command = [sys.executable, "-c", LISTENER, str(grace), ears]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_with_its_exit_code(number):
    process = listen(2.0)
    process.send_signal(number)
    assert process.wait(20) == EXIT_CODE == 75
    assert f"{number.name}: a checkpoint at the next step, then exit code 75" in process.stdout.read()


def test_a_second_signal_ends_at_once():
    process = listen(0.2, "deaf")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 128 + signal.SIGINT


def test_several_at_once_are_one():
    """As launchers send them: Ctrl-C reaches every process of the terminal, and the launcher passes it on."""
    process = listen(5.0, "deaf")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Preemption() as asked:
        assert signal.getsignal(signal.SIGTERM) != before
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.agree() == (True, False)
    assert signal.getsignal(signal.SIGTERM) == before
    assert Preempted().code == EXIT_CODE


def test_a_checkpoint_is_due_by_the_clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    asked, never = Preemption(minutes=2), Preemption(minutes=None)
    now[0] += 119
    assert asked.agree() == (False, False)
    now[0] += 2
    assert asked.agree() == (False, True)
    assert never.agree() == (False, False)
    asked.has_saved()
    assert asked.agree() == (False, False)
