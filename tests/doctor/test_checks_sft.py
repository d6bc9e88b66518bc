"""Stage 1's checks on made-up evidence: each finds its fault just beyond its threshold, and nothing just before it."""

import math
from pathlib import Path
from typing import Any

import pytest

from summarize_rlhf.doctor import checks_sft
from summarize_rlhf.doctor.evidence import SFT, Point, Training
from summarize_rlhf.doctor.finding import late_fall


def sft(losses: list[float] = (), evaluations: list[float] = (), passes: float = 2.0, **fields: Any) -> SFT:
    """Evidence whose lines of metrics lie at equal distances of the way."""

    def points(values) -> list[Point]:
        return [Point((i + 1) / len(values), value) for i, value in enumerate(values)]

    return SFT(Path("sft"), training=Training(points(losses), points(evaluations), passes), **fields)


HEALTHY = {"rouge": 0.4, "lead_rouge": 0.2, "ended": 1.0, "distinct": 1.0, "rows_cut": 0.02, "label_loss": 0.5}
HEALTHY |= {"eos_loss": 0.1, "eos_again": 0.01, "base_eos_again": 0.01}


def test_a_healthy_stage_raises_no_alarm() -> None:
    evidence = sft([5, 2, 1, 0.7, 0.6, 0.55, 0.52, 0.5, 0.5], [0.9, 0.6, 0.52, 0.5, 0.5, 0.5], **HEALTHY)
    assert [check(evidence) for check in checks_sft.CHECKS if check(evidence)] == []


def test_a_stage_that_logged_nothing_raises_none() -> None:
    assert [check(SFT(Path("sft"))) for check in checks_sft.CHECKS if check(SFT(Path("sft")))] == []


def test_posts_cut() -> None:
    assert checks_sft.posts_cut(sft(rows_cut=0.5)) is None
    assert checks_sft.posts_cut(sft(rows_cut=0.51)).status == "suspect"
    cut = {"rows_cut": 0.9, "evaluations": [1.0]}
    assert checks_sft.posts_cut(sft(**cut, label_loss=1.49)).status == "suspect"
    assert checks_sft.posts_cut(sft(**cut, label_loss=1.51)).status == "broken"


@pytest.mark.parametrize(
    ("probability", "label_loss", "found"),
    [(0.021, 0.5, False), (0.019, 0.5, True), (0.019, 2.0, False)],  # the limit is 50 tokens; and nothing is learned
)
def test_eos_not_taught(probability: float, label_loss: float, found: bool) -> None:
    evidence = sft(eos_loss=-math.log(probability), label_loss=label_loss)
    assert (checks_sft.eos_not_taught(evidence) is not None) == found


def test_eos_not_taught_by_the_log_alone() -> None:
    assert checks_sft.eos_not_taught(sft(ended=0.51)) is None
    assert checks_sft.eos_not_taught(sft(ended=0.5)).status == "suspect"


@pytest.mark.parametrize(
    ("again", "base", "found"), [(0.49, 0.001, False), (0.51, 0.001, True), (0.51, 0.06, False), (0.51, None, True)]
)
def test_padding_supervised(again: float, base: float | None, found: bool) -> None:
    assert (checks_sft.padding_supervised(sft(eos_again=again, base_eos_again=base)) is not None) == found


def test_learning_rate_too_high() -> None:
    assert checks_sft.learning_rate_too_high(sft([5, 2, 1, 1.49, 1])) is None
    assert checks_sft.learning_rate_too_high(sft([5, 2, 1, 1.51, 1])).status == "suspect"
    assert checks_sft.learning_rate_too_high(sft([5, 2, 1, 3, 2])).status == "broken"
    assert checks_sft.learning_rate_too_high(sft([1, 0.0, 0.0, 0.014])) is None  # a loss that is logged as 0.0
    assert checks_sft.learning_rate_too_high(sft([1, 0.0, 0.016])).status == "broken"


def test_undertrained_by_the_loss() -> None:
    def curve(k: float) -> list[float]:  # of a fall like exp(-k · way)
        return [1 + math.exp(-k * (i + 1) / 30) for i in range(30)]

    assert checks_sft.undertrained(sft([2.0], curve(1.6))) is None
    found = checks_sft.undertrained(sft([2.0], curve(1.1)))
    assert (found.status, found.cause) == ("suspect", "learning_rate_too_low")
    assert checks_sft.undertrained(sft([2.0], curve(1.1), passes=0.5)).cause == "undertrained"


def test_undertrained_by_further_steps() -> None:
    """As 29 of 30 lines are flat, the loss's own curve says nothing."""
    flat = {"losses": [2.0], "evaluations": [2.0, 1.0, 1.0, 1.0, 1.0]}
    assert checks_sft.undertrained(sft(**flat, further_fall=0.029)) is None
    found = checks_sft.undertrained(sft(**flat, further_fall=0.031))
    assert (found.status, found.cause) == ("suspect", "learning_rate_too_low")
    assert checks_sft.undertrained(sft(**flat, further_fall=0.031, passes=0.5)).cause == "undertrained"


def test_weights_that_are_overwritten() -> None:
    assert checks_sft.learning_rate_too_high(sft([2.0, 1.0], moved=0.49)) is None
    assert checks_sft.learning_rate_too_high(sft([2.0, 1.0], moved=0.51)).status == "suspect"


def test_undertrained_by_the_summaries() -> None:
    assert checks_sft.undertrained(sft(rouge=0.21, lead_rouge=0.2)) is None
    assert checks_sft.undertrained(sft(rouge=0.2, lead_rouge=0.2)).status == "broken"


def test_collapsed() -> None:
    assert checks_sft.collapsed(sft(distinct=0.5)) is None
    assert checks_sft.collapsed(sft(distinct=0.49)).status == "broken"


def test_overfitted() -> None:
    assert checks_sft.overfitted(sft(evaluations=[2.0, 1.0, 1.09])) is None
    assert checks_sft.overfitted(sft(evaluations=[2.0, 1.0, 1.11])).status == "suspect"
    assert checks_sft.overfitted(sft(evaluations=[2.0, 1.0, 1.11], options={"keep": "best"})) is None


def test_late_fall() -> None:
    """A third of a straight line falls in its last third, wherever the points lie."""
    line = [Point(way, 3 - 2 * way) for way in (0.1, 0.5, 0.9, 1.0)]
    assert late_fall(line, 3.0) == pytest.approx(1 / 3)
    assert late_fall([Point(0.6, 1.0), Point(0.8, 1.0), Point(1.0, 1.0)], 3.0) == 0
    assert late_fall(line[:2], 3.0) is None
    assert late_fall([Point(way, 3 - 2 * way) for way in (0.1, 0.4, 0.6)], 3.0) is None  # the last third is open
    assert late_fall([Point(0.1, 3.1), Point(0.6, 3.5), Point(1.0, 2.9)], 3.0) == 1  # it had risen before
    assert late_fall([Point(0.1, 3.0), Point(0.5, 3.1), Point(1.0, 3.2)], 3.0) is None  # it did not fall
