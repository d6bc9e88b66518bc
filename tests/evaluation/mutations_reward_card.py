# ruff: noqa: E501  a table, one mutation a line
"""The reward model's card: copying, calibration, probes."""

CALIBRATION = "summarize_rlhf/evaluation/calibration.py"
CARD = "reward_model/card.py"
CHECK = "reward_model/card_check.py"
COPYING = "summarize_rlhf/evaluation/copying.py"
PAGES = "reward_model/card_pages.py"
PREFERENCES = "summarize_rlhf/evaluation/preferences.py"
STAGE2 = "reward_model/train_reward_model_gptj.py"
STAGE3 = "trlx_gptj_text_summarization.py"
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
    ("calibration: bins of a tenth", CALIBRATION, "((confidence - 0.5) * 2 * bins).astype(int)", "(confidence * bins).astype(int)", "evaluation/test_calibration.py::test_bins_are_a_twentieth_wide"),
    ("bins end between the values", PREFERENCES, "method=\"inverted_cdf\"", "method=\"linear\"", "evaluation/test_preferences.py::test_bins_of_six_end_at_values_that_are_there"),
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
    ("card: splits mixed up", CARD, "if split == name]", "if split != name]", "reward_model/test_card.py::test_a_model_that_counts_words"),
    ("card: rejected less chosen", CARD, "margins = (chosen - rejected).tolist()", "margins = (rejected - chosen).tolist()", "reward_model/test_card.py::test_a_model_that_counts_words"),
    ("card: length difference turned round", CARD, "np.subtract(*features[\"length\"])", "-np.subtract(*features[\"length\"])", "reward_model/test_card.py::test_a_model_that_counts_words"),
    ("card: margins with their sign", CARD, "accuracy_by([abs(margin) for margin in margins], right)", "accuracy_by(margins, right)", "reward_model/test_card.py::test_a_model_that_counts_words"),
    ("card: spread of rejected summaries", CARD, "between_post_spread(chosen, bodies)", "between_post_spread(rejected, bodies)", "reward_model/test_card.py::test_a_model_that_counts_words"),
    ("card: another post is its own", CARD, "around[i + 1 : i + len(bodies)] if other != bodies[i]", "around[i : i + len(bodies)] if True", "reward_model/test_card.py::test_a_model_that_reads_its_post"),
    ("card: probes of the rejected summary", CARD, "probe(scorer, bodies, summaries[0], progress)", "probe(scorer, bodies, summaries[1], progress)", "reward_model/test_card.py::test_a_model_that_counts_words"),
    ("card: human summary less probe", CARD, "scores[tuple(row[0])] - scores[tuple(row[1])]", "scores[tuple(row[1])] - scores[tuple(row[0])]", "reward_model/test_card.py::test_a_model_that_counts_words"),
    ("card: a post's last summary", CARD, "first.setdefault(post, value)", "first[post] = value", "reward_model/test_card.py::test_the_first_posts_are_probed_each_text_once"),
    ("card: all posts probed", CARD, "bodies = list(dict.fromkeys(bodies))[:PROBED]", "bodies = list(dict.fromkeys(bodies))[: len(labels) + 1]", "reward_model/test_card.py::test_the_first_posts_are_probed_each_text_once"),
    ("card: a text run twice", CARD, "list(dict.fromkeys(tuple(text) for row in ids if row is not None for text in row))", "[tuple(text) for row in ids if row is not None for text in row]", "reward_model/test_card.py::test_the_first_posts_are_probed_each_text_once"),
    ("card: one text that does not fit spoils all", CARD, "                found.append(None)", "                raise", "reward_model/test_card.py::test_what_cannot_be_measured_is_none"),
    ("card: half of the posts warns", PAGES, "probe[\"beats_label\"] > 0.5", "probe[\"beats_label\"] >= 0.5", "reward_model/test_card.py::test_words_of_the_card"),
    ("card: too much and too little exchanged", PAGES, "elif temperature > FAR:", "elif temperature < FAR:", "reward_model/test_card.py::test_words_of_the_temperature"),
    ("card: an accuracy in words", CHECK, "isinstance(accuracy, float | int) and 0 <= accuracy", "0 <= float(accuracy)", "reward_model/test_card_check.py::test_no_card_is_one_line_unless_an_accuracy_is_asked_for"),
    ("card: of any weights", CHECK, "if (card.get(\"weights\") or {}) != about:", "if False:", "reward_model/test_card_check.py::test_no_card_is_one_line_unless_an_accuracy_is_asked_for"),
    ("card: just enough is refused", CHECK, "found[\"value\"] < least_accuracy", "found[\"value\"] <= least_accuracy", "reward_model/test_card_check.py::test_paragraph_and_a_warning_for_each_probe_that_beats_people"),
    ("card: without one any accuracy passes", CHECK, "        if least_accuracy is not None:\n", "        if False:\n", "reward_model/test_card_check.py::test_no_card_is_one_line_unless_an_accuracy_is_asked_for"),
    ("card: written into no hand-over", STAGE2, "                write_card(tmp, card, tmp)", "                pass", "reward_model/test_formulas_reward_model.py::test_the_card_is_of_these_weights_and_outside_the_hashed_files"),
    ("stage 3: least accuracy ignored", STAGE3, "    told = card_lines(task.reward_model, task.require_rm)\n", "    told = card_lines(task.reward_model, None)\n", "ppo/test_reward_card.py::test_too_low_an_accuracy_is_refused_before_weights_are_read"),
    ("card: the stage's last pair left out", CARD, "range(min(most, len(rows)))", "range(min(most, len(rows)) - 1)", "reward_model/test_card.py::test_a_stages_card_is_of_its_first_pairs"),
    ("card: the stage's sides exchanged", CARD, "for side in (0, 1) for texts", "for side in (1, 0) for texts", "reward_model/test_card.py::test_a_stages_card_is_of_its_first_pairs"),
    ("card: spread divided by the posts", CARD, "np.std(scores, ddof=1)", "np.std(scores, ddof=0)", "reward_model/test_card.py::test_spread_of_posts_by_hand"),
    ("card: pairs for posts", CARD, "len(set(bodies))", "len(bodies)", "reward_model/test_card.py::test_the_first_posts_are_probed_each_text_once"),
    ("card: accuracy of other pairs beside the other post's", CARD, "sum(right[i] for i, _ in fit) / len(fit)", "sum(right) / len(right)", "reward_model/test_card.py::test_the_first_posts_are_probed_each_text_once"),
    ("card: a token more than the model reads", CARD, "scorer.max_length))\n    except", "scorer.max_length + 1))\n    except", "reward_model/test_card.py::test_a_long_post_is_cut_to_the_models_length"),
]
