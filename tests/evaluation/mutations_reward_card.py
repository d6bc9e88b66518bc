# ruff: noqa: E501  a table, one mutation a line
"""The reward model's card: copying, calibration, probes."""

COPYING = "summarize_rlhf/evaluation/copying.py"

# fmt: off
ROWS = [
    ("copying: case matters", COPYING, "summary.lower().split(), post.lower().split()", "summary.split(), post.lower().split()", "evaluation/test_copying.py::test_by_hand"),
    ("copying: last n-gram of the post left out", COPYING, "range(len(source) - n + 1)", "range(len(source) - n)", "evaluation/test_copying.py::test_other_lengths"),
    ("copying: each n-gram once", COPYING, "grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]", "grams = {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}", "evaluation/test_copying.py::test_by_hand"),
]
