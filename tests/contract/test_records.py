"""What the stages leave in their directories is found and read in one place."""

import json

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.records import model_in, read_json, read_lines


def test_the_model_of_a_directory_is_its_own_the_best_or_the_newest(tmp_path):
    """Each that is added comes before those that were there."""
    assert model_in(tmp_path) is None
    places = ("hf_model", "checkpoint_9/hf_model", "checkpoint_40/hf_model", "best_checkpoint/hf_model", ".")
    for place in places:
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "run.json").write_text("{}")
        assert model_in(tmp_path) == tmp_path / place
    assert model_in(tmp_path / "nowhere") is None


def test_a_file_holds_what_is_expected_or_is_named(tmp_path):
    file = tmp_path / "card.json"
    assert read_json(file) is None
    file.write_text('{"pairs": 3}')
    assert read_json(file) == {"pairs": 3}
    with pytest.raises(UserError, match=r"card\.json should hold a JSON list, not a dict"):
        read_json(file, list)
    file.write_text('{"pairs": ')
    with pytest.raises(UserError, match=r"cannot read the JSON file .*card\.json"):
        read_json(file)


def test_lines_are_objects_and_a_torn_one_is_told_or_left_out(tmp_path):
    """U+2028 separates lines for Python, but not those of JSON Lines."""
    file = tmp_path / "metrics.jsonl"
    assert read_lines(file) == []
    rows = [{"step": 1, "text": "a\u2028b"}, {"step": 2}]
    file.write_text("\n".join([json.dumps(row, ensure_ascii=False) for row in rows] + ["", ""]), encoding="utf-8")
    assert read_lines(file) == rows
    whole = file.read_text(encoding="utf-8")
    file.write_text(f"{whole}3\n", encoding="utf-8")
    assert read_lines(file, torn=True) == rows
    with pytest.raises(UserError, match="a line is no JSON object"):
        read_lines(file)
    file.write_text(whole, encoding="utf-8")
    with file.open("a") as log:
        log.write('{"step": 3, "los')
    assert read_lines(file, torn=True) == rows
    with pytest.raises(UserError, match=r"cannot read the log .*metrics\.jsonl"):
        read_lines(file)
