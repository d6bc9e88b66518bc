# ruff: noqa: E501  a table, one mutation a line
"""Scoring a file."""

SCORE = "reward_model/score.py"
SCORE_FILE = "reward_model/score_file.py"

# fmt: off
ROWS = [
    ("score: rows by length", SCORE, "scores = [file.known[number] for number in text_of]", "scores = [file.known[number] for batch in scorer.batches([len(ids) for ids in texts]) for number in [text_of[i] for i in batch]]", "reward_model/test_score.py::test_each_row_has_its_own_score_in_its_place"),
    ("score: a batch half known is skipped", SCORE, "if all(number in file.known for number in batch):", "if any(number in file.known for number in batch):", "reward_model/test_score.py::test_batches_of_another_size_that_are_known_in_part_are_completed"),
    ("score: a pair cut apart", SCORE, "[[row[column] for column in columns] for row in some]", "[[row[column]] for row in some for column in columns]", "reward_model/test_score.py::test_pairs_share_their_post_and_every_format_is_read"),
    ("score: other columns do not count", SCORE, "json.dumps([rows, list(names.values())], default=str)", "json.dumps([[row[c] for c in names] for row in rows], default=str)", "reward_model/test_score.py::test_another_input_or_model_under_the_same_output_is_refused"),
    ("score: any reward model goes on", SCORE, "\"reward model\": scorer.digest(),", "\"reward model\": \"\",", "reward_model/test_score.py::test_another_input_or_model_under_the_same_output_is_refused"),
    ("score: any length goes on", SCORE, "\"max_length\": scorer.max_length,", "\"max_length\": 0,", "reward_model/test_score.py::test_another_input_or_model_under_the_same_output_is_refused"),
    ("score: a column replaced", SCORE, "if name in row:", "if False:", "reward_model/test_score.py::test_a_row_that_cannot_be_scored_is_named"),
    ("score: a damaged line counts", SCORE_FILE, "line.endswith(\"\\n\") and _hash(batch) == found[\"sha256\"]", "line.endswith(\"\\n\")", "reward_model/test_score.py::test_after_a_kill_it_goes_on_to_the_same_bytes"),
    ("score: what kept nothing is in the way", SCORE_FILE, "and self.part.exists() and self.part.stat().st_size > 0", "and self.part.exists()", "reward_model/test_score.py::test_a_start_that_kept_no_score_stands_in_nobodys_way"),
    ("score: a changed output passes", SCORE_FILE, "if sha256_of(output) != kept.read_value(output)[\"sha256\"]:", "if False:", "reward_model/test_score.py::test_what_is_no_output_of_ours_is_never_replaced"),
    ("score: a foreign output is replaced", SCORE_FILE, "if not begun and not fresh and output.exists():", "if not begun and not fresh and kept.record_of(output).exists():", "reward_model/test_score.py::test_what_is_no_output_of_ours_is_never_replaced"),
]
