"""Tables, samples and intervals."""

import pytest

from summarize_rlhf.report import format_table, paired_bootstrap, print_samples


def test_a_table_by_hand():
    assert format_table([{"model": "SFT", "rouge1": 0.33449}, {"model": "PPO", "rouge1": 0.3}]) == (
        "| model | rouge1 |\n| ----- | ------ |\n| SFT   | 0.334  |\n| PPO   | 0.300  |"
    )


def test_samples_are_wrapped_and_cut_at_the_front(capsys):
    print_samples([{"prompt": "start " + "word " * 200 + "end", "summary": ""}])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["prompt", "…"]
    assert lines[6].endswith("end")
    assert "start" not in "".join(lines)
    assert lines[7].strip() == "summary"


def test_the_interval_of_equal_differences_is_a_point():
    assert paired_bootstrap([2.0, 3.0, 4.0], [1.0, 2.0, 3.0]) == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_the_interval_against_the_normal_approximation():
    """400 differences of ±1 around .1: the standard error is about .05, the interval about ±.098."""
    ours = [1.0 if i % 20 < 11 else -1.0 for i in range(400)]
    found = paired_bootstrap(ours, [0.0] * 400)
    assert found["mean"] == pytest.approx(0.1)
    assert found["low"] == pytest.approx(0.1 - 0.0975, abs=0.012)
    assert found["high"] == pytest.approx(0.1 + 0.0975, abs=0.012)


def test_rows_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        paired_bootstrap([1.0, 2.0], [1.0])
