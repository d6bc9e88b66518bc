# ruff: noqa: E501  a table, one mutation a line
"""The reward model's card: copying, calibration, probes."""

CALIBRATION = "summarize_rlhf/evaluation/calibration.py"
COPYING = "summarize_rlhf/evaluation/copying.py"
PREFERENCES = "summarize_rlhf/evaluation/preferences.py"
PROBES = "summarize_rlhf/evaluation/probes.py"

# fmt: off
ROWS = [
    ("copying: case matters", COPYING, "text.lower().split()", "text.split()", "evaluation/test_copying.py::test_by_hand"),
    ("copying: last n-gram of the post left out", COPYING, "range(len(source) - n + 1)", "range(len(source) - n)", "evaluation/test_copying.py::test_other_lengths"),
    ("copying: each n-gram once", COPYING, "grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]", "grams = {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}", "evaluation/test_copying.py::test_by_hand"),
    ("copying: last place instead of first", COPYING, "place.setdefault(pair, i)", "place[pair] = i", "evaluation/test_copying.py::test_position_is_where_shared_pairs_of_words_stand"),
    ("copying: position by words", COPYING, "last = len(source) - 2", "last = len(source) - 1", "evaluation/test_copying.py::test_position_is_where_shared_pairs_of_words_stand"),
    ("calibration: bins count alike", CALIBRATION, "b[\"pairs\"] * abs(b[\"accuracy\"] - b[\"confidence\"]) for b in found) / len(margins)", "abs(b[\"accuracy\"] - b[\"confidence\"]) for b in found) / len(found)", "evaluation/test_calibration.py::test_error_sums_over_the_bins_by_their_pairs"),
    ("calibration: errors cancel", CALIBRATION, "abs(b[\"accuracy\"] - b[\"confidence\"])", "(b[\"accuracy\"] - b[\"confidence\"])", "evaluation/test_calibration.py::test_error_sums_over_the_bins_by_their_pairs"),
    ("calibration: a tie is wrong", CALIBRATION, "np.heaviside(np.asarray(margins, dtype=np.float64), 0.5)", "np.heaviside(np.asarray(margins, dtype=np.float64), 0.0)", "evaluation/test_calibration.py::test_error_sums_over_the_bins_by_their_pairs"),
    ("calibration: a sure pair beyond the bins", CALIBRATION, "np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)", "((confidence - 0.5) * 2 * bins + 1e-9).astype(int)", "evaluation/test_calibration.py::test_a_sure_model_falls_into_the_last_bin"),
    ("Brier score not squared", CALIBRATION, "expit(-np.asarray(margins, dtype=np.float64)) ** 2", "expit(-np.asarray(margins, dtype=np.float64))", "evaluation/test_calibration.py::test_figures_by_hand"),
    ("log loss overflows", CALIBRATION, "np.logaddexp(0, -np.asarray(margins, dtype=np.float64))", "np.log(1 + np.exp(-np.asarray(margins, dtype=np.float64)))", "evaluation/test_calibration.py::test_large_margins_do_not_overflow"),
    ("temperature upside down", CALIBRATION, "return 1 / brentq(slope", "return brentq(slope", "evaluation/test_calibration.py::test_temperature_in_closed_form"),
    ("a temperature where there is none", CALIBRATION, "if x.mean() <= 0 or x.min() >= 0:", "if x.min() >= 0:", "evaluation/test_calibration.py::test_no_temperature_where_none_is_finite"),
    ("rule's tie is right", PREFERENCES, "np.heaviside(np.subtract(chosen, rejected, dtype=np.float64), 0.5)", "np.heaviside(np.subtract(chosen, rejected, dtype=np.float64), 1.0)", "evaluation/test_preferences.py::test_a_rules_tie_is_half_right"),
    ("bins part equal values", PREFERENCES, "np.searchsorted(inner, x)", "np.searchsorted(inner, x, side=\"right\")", "evaluation/test_preferences.py::test_bins_part_at_the_quantiles"),
    ("correlation about the mean difference", PREFERENCES, "d, f = np.asarray(scores, dtype=np.float64), np.asarray(feature, dtype=np.float64)", "d, f = np.asarray(scores) - np.mean(scores), np.asarray(feature) - np.mean(feature)", "evaluation/test_preferences.py::test_correlation_of_what_goes_along_and_of_what_never_differs"),
    ("spread between posts", PREFERENCES, "axis=1, ddof=1).mean()", "axis=0, ddof=1).mean()", "evaluation/test_preferences.py::test_spread_is_the_mean_of_the_posts_own"),
    ("spread divided by S", PREFERENCES, "axis=1, ddof=1).mean()", "axis=1, ddof=0).mean()", "evaluation/test_preferences.py::test_spread_is_the_mean_of_the_posts_own"),
    ("probe that changes nothing", PROBES, "None if text == summary else text", "text", "evaluation/test_probes.py::test_nothing_where_nothing_changes"),
    ("probe: another summary of the same post", PROBES, "if bodies[j] != body), None),", "), None),", "evaluation/test_probes.py::test_nothing_where_nothing_changes"),
    ("probe: a number of the post", PROBES, "if number not in taken), None)", "), None)", "evaluation/test_probes.py::test_one_number"),
    ("probe: a name of the post", PROBES, "if name not in body and name not in summary", "if name not in summary", "evaluation/test_probes.py::test_one_name"),
    ("probe: a sentence ends at any dot", PROBES, "(?:[.!?]+(?=\\s|$)|\\n|$)", "(?:[.!?]+|\\n|$)", "evaluation/test_probes.py::test_first_sentence"),
]
