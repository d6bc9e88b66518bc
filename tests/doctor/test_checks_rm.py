"""Stage 2's checks on made-up evidence: each finds its fault just beyond its threshold, and nothing just before it."""

from pathlib import Path
from typing import Any

import pytest

from summarize_rlhf.doctor import checks_rm
from summarize_rlhf.doctor.evidence import RM, Point, Training
from summarize_rlhf.doctor.finding import standard_error

ONE, OTHER = "0" * 64, "1" * 64  # digests


def rm(losses: list[float] = (), evaluations: list[float] = (), passes: float = 1.0, **fields: Any) -> RM:
    """Evidence whose lines of metrics lie at equal distances of the way."""

    def points(values) -> list[Point]:
        return [Point((i + 1) / len(values), value) for i, value in enumerate(values)]

    return RM(Path("rm"), training=Training(points(losses), points(evaluations), passes), **fields)


HEALTHY = {"accuracies": [0.7, 0.78, 0.8], "eval_pairs": 300, "trained_from": ONE, "sft": ONE, "pairs": 300}
HEALTHY |= {"accuracy": 0.8, "prefers_longer": 0.6, "longer_chosen": 0.6, "beats_shuffled": 0.97}


def test_a_healthy_stage_raises_no_alarm() -> None:
    evidence = rm([0.75, 0.65, 0.6, 0.55, 0.52, 0.5], [0.58, 0.53, 0.52, 0.515], **HEALTHY)
    assert [check(evidence) for check in checks_rm.CHECKS if check(evidence)] == []


def test_a_stage_that_logged_nothing_raises_none() -> None:
    assert [check(RM(Path("rm"))) for check in checks_rm.CHECKS if check(RM(Path("rm")))] == []


def test_other_model() -> None:
    assert checks_rm.other_model(rm(trained_from=ONE, sft=ONE)) is None
    assert checks_rm.other_model(rm(trained_from="EleutherAI/gpt-j-6B", sft=ONE)) is None  # no digest to compare
    assert checks_rm.other_model(rm(trained_from=ONE, sft=OTHER)).status == "suspect"


@pytest.mark.parametrize(
    ("accuracy", "pairs", "found"),
    [(0.791, 200, False), (0.785, 200, True), (0.69, 100, False), (0.67, 100, True)],  # 200: the very same pairs
)
def test_other_template(accuracy: float, pairs: int, found: bool) -> None:
    evidence = rm(accuracies=[0.5, 0.8], eval_pairs=200, pairs=pairs, accuracy=accuracy)
    assert (checks_rm.other_template(evidence) is not None) == found


def test_labels_flipped_in_training() -> None:
    assert checks_rm.labels_flipped(rm(accuracies=[0.46], eval_pairs=400)) is None  # chance: .45 to .55
    assert checks_rm.labels_flipped(rm(accuracies=[0.44], eval_pairs=400)).status == "broken"


def test_labels_flipped_everywhere() -> None:
    known = {"accuracies": [0.8], "eval_pairs": 400}
    assert checks_rm.labels_flipped(rm(**known, beats_shuffled=0.34)) is None
    assert checks_rm.labels_flipped(rm(**known, beats_shuffled=0.33)).status == "broken"
    assert (
        checks_rm.labels_flipped(rm(accuracies=[0.52], eval_pairs=400, beats_shuffled=0.2)) is None
    )  # it knows nothing


@pytest.mark.parametrize(("share", "found"), [(0.94, False), (0.96, True), (0.06, False), (0.04, True)])
def test_pays_for_length(share: float, found: bool) -> None:
    assert (checks_rm.pays_for_length(rm(prefers_longer=share, longer_chosen=0.6)) is not None) == found


def test_length_tells_more_than_the_labels() -> None:
    """Of 300 pairs, two standard errors of .875 are .038."""

    def found(share: float, accuracy: float, loss: float = 0.5) -> bool:
        evidence = rm(evaluations=[0.6, loss], pairs=300, accuracy=accuracy, prefers_longer=share, longer_chosen=0.6)
        return checks_rm.pays_for_length(evidence) is not None

    assert found(0.875, 0.83)
    assert found(0.125, 0.83)  # the shorter one
    assert not found(0.875, 0.84)
    assert not found(0.5, 0.13)  # flipped
    assert not found(0.875, 0.6, loss=0.56)  # it has learned too little to be judged


def test_does_not_read() -> None:
    def card(other: float, accuracy: float = 0.8) -> RM:
        return rm(card={"pairs": 400, "accuracy": {"value": accuracy}, "other_post": {"accuracy": other}})

    assert checks_rm.does_not_read(card(0.75)) is None  # two standard errors: .04
    assert checks_rm.does_not_read(card(0.77)).status == "suspect"
    assert checks_rm.does_not_read(card(0.53, accuracy=0.53)) is None  # there is nothing that could fall
    assert checks_rm.does_not_read(rm(card={"pairs": 400, "accuracy": {"value": 0.8}, "other_post": None})) is None


def test_learning_rate_too_high() -> None:
    assert checks_rm.learning_rate_too_high(rm([0.7, 0.6, 0.6, 0.6, 0.89, 0.6], [0.6])) is None
    assert checks_rm.learning_rate_too_high(rm([0.7, 0.6, 0.6, 0.6, 0.91, 0.6], [0.6])).status == "suspect"
    above_chance = [3.0, 2.0, 1.2, 0.8, 0.75, 0.71]
    assert checks_rm.learning_rate_too_high(rm(above_chance, [0.69])) is None
    assert checks_rm.learning_rate_too_high(rm(above_chance, [0.70])).status == "broken"
    assert checks_rm.learning_rate_too_high(rm([0.71, 0.7, 0.7, 0.7, 0.7, 0.7], [0.70])) is None  # no step was large


def test_the_first_fifth_of_the_losses_may_rise() -> None:
    assert checks_rm.learning_rate_too_high(rm([0.5, 0.9, *[0.6] * 8], [0.6])) is None
    assert checks_rm.learning_rate_too_high(rm([0.6, 0.6, 0.5, 0.9, *[0.6] * 6], [0.6])).status == "suspect"


def test_the_standard_error_of_all_and_of_none() -> None:
    for share in (0.0, 1.0):
        assert standard_error(share, 10) == pytest.approx((0.05 * 0.95 / 10) ** 0.5)
    assert standard_error(0.5, 100) == 0.05


def test_a_model_that_is_overwritten_and_learned_little() -> None:
    curve = [0.7, 0.69, 0.69, 0.68, 0.68]
    assert checks_rm.learning_rate_too_high(rm(curve, [0.67], moved=0.49)) is None
    assert checks_rm.learning_rate_too_high(rm(curve, [0.67], moved=0.51)).status == "broken"
    assert checks_rm.learning_rate_too_high(rm(curve, [0.55], moved=0.51)).status == "suspect"


def test_overfitted() -> None:
    assert checks_rm.overfitted(rm([0.34], [0.69])) is None
    assert checks_rm.overfitted(rm([0.34], [0.70])).status == "broken"
    assert checks_rm.overfitted(rm([0.35], [0.70])) is None


def test_undertrained() -> None:
    known = {"accuracies": [0.8], "eval_pairs": 400}
    assert checks_rm.undertrained(rm(evaluations=[0.55, 0.53, 0.52], **known)) is None
    straight = [0.69, 0.67, 0.65, 0.63]
    found = checks_rm.undertrained(rm(evaluations=straight, **known))
    assert (found.status, found.cause) == ("suspect", "learning_rate_too_low")
    assert checks_rm.undertrained(rm(evaluations=straight, passes=0.4, **known)).cause == "undertrained"
    annealed = [0.69, 0.66, 0.60, 0.55]  # as late, and far from chance at the end
    assert checks_rm.undertrained(rm(evaluations=annealed, **known)) is None
    assert checks_rm.undertrained(rm(accuracies=[0.56], eval_pairs=400)) is None
    assert checks_rm.undertrained(rm(accuracies=[0.54], eval_pairs=400)).status == "broken"
    assert checks_rm.undertrained(rm(accuracies=[0.44], eval_pairs=400)) is None  # it has learned, the wrong way round
