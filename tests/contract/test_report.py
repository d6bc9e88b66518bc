"""Tables and samples."""

from summarize_rlhf.report import format_table, print_samples


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
