"""Reward functions that end in ways of their own: the checkpoint first, then the sample by name, then the end."""

import os
import signal
import sys
import threading
import time

import pytest
from tiny_trlx import PROMPTS, length_reward, tiny_config

import trlx
from summarize_rlhf import UserError
from summarize_rlhf.run.checkpoints import find_corruption
from trlx.trainer.deadline import deadline
from trlx.trainer.rewards import RewardError

CALLS = 2  # the second call is the first collection's


class Fails:
    """Rewards by length, until the second call."""

    def __init__(self, fault):
        self.fault, self.calls = fault, 0

    def __call__(self, outputs, **_):
        self.calls += 1
        return length_reward(outputs) if self.calls < CALLS else self.fault(outputs)


def yields_and_raises(outputs):
    yield 0.5
    raise LookupError("no reward for this one")


def exits(outputs):
    sys.exit(3)


def says_what_is_wrong(outputs):
    raise UserError("the reward model gave nan for text 0")


def interrupts(outputs):
    raise KeyboardInterrupt


def sleeps(outputs):
    time.sleep(60)


def spins(outputs):
    while True:
        pass


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (yields_and_raises, r"reward_fn failed with LookupError: no reward for this one .*on sample 0: '"),
        (exits, r"reward_fn failed with SystemExit: 3 .*on sample 0: '"),
        (says_what_is_wrong, r"^the reward model gave nan for text 0$"),
        (interrupts, r"reward_fn was interrupted, on \d+ samples"),
        (sleeps, r"reward_fn failed with TimeoutError: no answer within 0\.3 s \(train\.reward_timeout\).*on sample 0"),
        (spins, r"reward_fn failed with TimeoutError: no answer within 0\.3 s .*on sample 0: '"),
    ],
)
def test_a_checkpoint_then_the_sample_then_the_end(gptj_dir, tmp_path, fault, told):
    config = tiny_config(gptj_dir, tmp_path, **{"train.reward_timeout": 0.3})
    fails = Fails(fault)
    with pytest.raises(RewardError, match=told):
        trlx.train(reward_fn=fails, prompts=PROMPTS, config=config)
    if fault is says_what_is_wrong:
        assert fails.calls == CALLS, "other processes may wait for a call that they have to make, too"
    (made,) = tmp_path.glob("checkpoint_*")
    assert find_corruption(made) is None
    trlx.train(reward_fn=length_reward, prompts=PROMPTS, config=config)  # goes on from it


def test_a_generator_that_ends_well_is_a_list(gptj_dir, tmp_path):
    def reward_fn(outputs, **_):
        yield from length_reward(outputs)

    trlx.train(reward_fn=reward_fn, prompts=PROMPTS, config=tiny_config(gptj_dir, tmp_path))


def test_a_metric_function_has_the_same_limit(gptj_dir, tmp_path):
    config = tiny_config(gptj_dir, tmp_path, **{"train.reward_timeout": 0.3})
    with pytest.raises(RewardError, match="metric_fn failed with TimeoutError"):
        trlx.train(reward_fn=length_reward, metric_fn=lambda **_: time.sleep(60), prompts=PROMPTS, config=config)


def test_the_timer_is_put_back():
    before = signal.getsignal(signal.SIGALRM)
    with deadline(5.0, "late"):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before
    with pytest.raises(TimeoutError, match="late"), deadline(0.01, "late"):
        time.sleep(5)
    assert signal.getsignal(signal.SIGALRM) is before
    with deadline(None, "never"):
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_another_thread_has_no_limit():
    found = []

    def elsewhere():
        with deadline(0.01, "late"):
            time.sleep(0.05)
            found.append(os.getpid())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(found) == 1
