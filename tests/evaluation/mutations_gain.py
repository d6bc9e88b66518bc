# ruff: noqa: E501  a table, one mutation a line
"""Why the reward rose."""

GAIN = "summarize_rlhf/evaluation/gain.py"

# fmt: off
ROWS = [
    ("gain: fit without intercept", GAIN, "    centred = differences - mean\n", "    centred = differences\n", "evaluation/test_gain.py::test_the_fit_is_least_squares"),
    ("gain: length and copying swapped", GAIN, "    length, copying = slopes", "    copying, length = slopes", "evaluation/test_gain.py::test_a_sum_of_three_is_taken_apart"),
    ("gain: constant explains", GAIN, "    spread[spread < 1e-9 * (1 + abs(mean))] = np.inf  # what does not vary explains nothing\n", "    centred = differences - 0\n", "evaluation/test_gain.py::test_a_difference_that_is_the_same_everywhere_explains_nothing"),
    ("gain: sign", GAIN, "    return ours - theirs\n", "    return theirs - ours\n", "evaluation/test_gain.py::test_a_sum_of_three_is_taken_apart"),
    ("gain: posts not drawn together", GAIN, "split(x[rows])[number] for rows in drawn", "split(np.stack([x[rows, 0], x[:, 1], x[:, 2]], 1))[number] for rows in drawn", "evaluation/test_gain.py::test_intervals_hold_the_truth"),
    ("gain: few posts told", GAIN, "if len(x) < LEAST_POSTS:", "if len(x) < 2:", "evaluation/test_gain.py::test_few_posts_have_a_total_alone"),
    ("gain: infinite numbers taken", GAIN, "if not np.isfinite(x).all():", "if np.isnan(x).any():", "evaluation/test_gain.py::test_columns_that_do_not_fit_are_refused"),
    ("gain: ten posts are few", GAIN, "LEAST_POSTS = 10", "LEAST_POSTS = 11", "evaluation/test_gain.py::test_few_posts_have_a_total_alone"),
]
