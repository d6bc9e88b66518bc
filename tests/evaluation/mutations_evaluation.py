# ruff: noqa: E501  a table, one mutation a line
"""Statistics of an evaluation: intervals, win rates, best-of-N, verdicts, judges."""

BEST_OF_N = "summarize_rlhf/evaluation/best_of_n.py"
ANSWERS = "summarize_rlhf/run/kept_answers.py"
EVALUATION_FILES = "summarize_rlhf/lm/evaluation_files.py"
ESTIMATES = "summarize_rlhf/evaluation/estimates.py"
FIGURES = "summarize_rlhf/lm/test_set_figures.py"
GOLD = "summarize_rlhf/evaluation/gold.py"
INTERVALS = "summarize_rlhf/intervals.py"
JUDGE = "summarize_rlhf/evaluation/judge.py"
KL = "summarize_rlhf/lm/kl.py"
KEPT_ROWS = "summarize_rlhf/run/kept_rows.py"
NAMED = "summarize_rlhf/run/named_function.py"
PAGE = "summarize_rlhf/evaluation/page.py"
RECORD = "summarize_rlhf/evaluation/record.py"
REPETITION = "summarize_rlhf/evaluation/repetition.py"
SUMMARISER = "summarize_rlhf/lm/summariser.py"
TABLES = "trlx_inference_gptj.py"
TEST_SET = "summarize_rlhf/lm/test_set.py"
VERDICT = "summarize_rlhf/evaluation/verdict.py"
WIN_RATES = "summarize_rlhf/evaluation/win_rates.py"

# fmt: off
ROWS = [
    ("interval: not expanded", ESTIMATES, "confidence_level=level(posts)", "confidence_level=CONFIDENCE", "evaluation/test_estimates.py::test_close_to_the_t_interval"),
    ("interval: expanded by n / (n − 1)", ESTIMATES, "math.sqrt(posts / (posts - 1))", "(posts / (posts - 1))", "evaluation/test_estimates.py::test_the_level_by_hand"),
    ("interval: samples are posts", ESTIMATES, "return x.reshape(len(x), -1).mean(1)", "return x.reshape(-1)", "evaluation/test_estimates.py::test_samples_are_averaged_before_posts"),
    ("interval: of one post", ESTIMATES, "if posts == 1:", "if posts == 0:", "evaluation/test_estimates.py::test_one_post_has_no_interval"),
    ("interval: a rate by the bootstrap", ESTIMATES, "found = accuracy(x.ravel().tolist(), np.arange(len(x)).repeat(x.shape[1]).tolist())", "found = dict(zip((\"accuracy\", \"accuracy_low\", \"accuracy_high\"), mean(x).values(), strict=True))", "evaluation/test_estimates.py::test_equal_values_are_a_point_and_equal_outcomes_are_not"),
    ("interval: a bootstrap of few posts", ESTIMATES, "if 1 < len(x) < FEW:", "if False:", "evaluation/test_estimates.py::test_few_posts_have_students_interval"),
    ("interval: few posts by the normal distribution", ESTIMATES, "reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 1).item()", "reach = stats.norm.ppf((1 + CONFIDENCE) / 2).item()", "evaluation/test_estimates.py::test_few_posts_have_students_interval"),
    ("interval: a few posts that agree are many", INTERVALS, "return max(min(n, posts), few * n)", "return n", "contract/test_intervals.py::test_two_posts_are_never_more_than_two"),
    ("interval: variance of few posts too small", INTERVALS, "    few *= (posts - 1) / posts * answers / (answers - 1)\n", "", "contract/test_intervals.py::test_few_posts_that_agree_are_not_many_answers"),
    ("interval: rounding is spread", INTERVALS, "if se < 1e-9 or posts == 1:", "if se == 0 or posts == 1:", "contract/test_intervals.py::test_equal_shares_are_not_certain_for_rounding"),
    ("verdict: of any few posts", VERDICT, "LEAST_POSTS = 8", "LEAST_POSTS = 7", "evaluation/test_verdict.py::test_few_posts_decide_nothing"),
    ("verdict: ties count as posts", VERDICT, "np.sum(np.abs(per_post(outcomes) - 0.5) > 1e-9)", "len(outcomes)", "evaluation/test_verdict.py::test_few_posts_decide_nothing"),
    ("length: all won as on all posts", WIN_RATES, "raw = win_rate(y[fewer])", "raw = win_rate(y)", "evaluation/test_win_rates.py::test_where_all_outcomes_agree_the_interval_holds_its_value"),
    ("length: accounts for the penalty", WIN_RATES, "apart = (posts * raw[\"value\"] + 0.5) / (posts + 1) - ", "apart = raw[\"value\"] - ", "evaluation/test_win_rates.py::test_what_the_penalty_moves_is_not_the_lengths"),
    ("best of N: one worse sample too many", BEST_OF_N, "worse = np.arange(n - 1, samples)", "worse = np.arange(n, samples + 1)", "evaluation/test_best_of_n.py::test_weights_of_two_thousand_samples"),
    ("KL: NaN where a policy never says a word", KL, ".masked_fill(never, 0.0)", "", "lm/test_kl.py::test_what_a_policy_never_says_adds_nothing"),
    ("KL: in half precision", KL, "logits.float().log_softmax(-1), reference_logits.float().log_softmax(-1)", "logits.log_softmax(-1), reference_logits.log_softmax(-1)", "lm/test_kl.py::test_logits_in_half_precision_are_compared_in_fp32"),
    ("length: a warning beyond 20 points", WIN_RATES, "NEAR = 0.1", "NEAR = 0.2", "evaluation/test_win_rates.py::test_ten_points_are_worth_a_warning"),
    ("evaluation: an EOS rate by the bootstrap", RECORD, "\"eos_rate\": rate(model[\"ended\"])", "\"eos_rate\": mean(model[\"ended\"])", "evaluation/test_record.py::test_all_summaries_ended_is_not_certain"),
    ("verdict: at equal length", RECORD, "verdict(raw, outcomes)", "verdict(controlled or raw, outcomes)", "evaluation/test_record.py::test_the_verdict_is_of_the_raw_win_rate"),
    ("page: raw for length-controlled", PAGE, "\"at equal length\": shown(row[\"length_controlled\"]", "\"at equal length\": shown(row[\"win_rate\"]", "evaluation/test_record.py::test_the_page_shows_every_figure_and_verdict"),
    ("page: N for KL", PAGE, "{point['kl_bound']:.2f}", "{point['n']:.2f}", "evaluation/test_record.py::test_the_page_shows_every_figure_and_verdict"),
    ("page: a share for per cent", PAGE, "{100 * judge['consistent']:.0f}", "{judge['consistent']:.0f}", "evaluation/test_record.py::test_the_page_shows_every_figure_and_verdict"),
    ("page: win rate for difference", PAGE, "difference in reward {shown(row['difference'])}", "difference in reward {shown(row['win_rate'])}", "evaluation/test_record.py::test_the_page_shows_every_figure_and_verdict"),
    ("win rate: ties lose", WIN_RATES, "np.heaviside(a - b, 0.5)", "np.heaviside(a - b, 0.0)", "evaluation/test_win_rates.py::test_ties_count_half"),
    ("win rate: reversed", WIN_RATES, "np.heaviside(a - b, 0.5)", "np.heaviside(b - a, 0.5)", "evaluation/test_win_rates.py::test_ties_count_half"),
    ("win rate: samples meet their like alone", WIN_RATES, "np.repeat(a, b.shape[1], axis=1)", "np.tile(a, (1, b.shape[1]))", "evaluation/test_win_rates.py::test_each_sample_meets_each_of_the_same_post"),
    ("length: no tanh", WIN_RATES, "x = np.tanh(np.divide(", "x = (np.divide(", "evaluation/test_win_rates.py::test_a_lead_that_length_hides_appears"),
    ("length: not divided by its spread", WIN_RATES, "np.divide(delta, spread, out", "np.divide(delta, np.where(spread > 0, 1.0, 0.0), out", "evaluation/test_win_rates.py::test_the_unit_of_length_does_not_matter"),
    ("length: no penalty", WIN_RATES, "rest = y - p + leverage * (0.5 - p)", "rest = y - p", "evaluation/test_win_rates.py::test_the_fit_against_a_slow_search"),
    ("length: leverage without its cross term", WIN_RATES, "2 * side[:, None] * x", "0 * side[:, None] * x", "evaluation/test_win_rates.py::test_the_fit_against_a_slow_search"),
    ("length: an unvarying length counts", WIN_RATES, "flat = determinant <= 1e-9 * a * a", "flat = determinant < 0", "evaluation/test_win_rates.py::test_without_differences_in_length_it_is_the_raw_rate_with_half_a_win_and_half_a_loss"),
    ("length: fitted once", WIN_RATES, "lambda drawn: equal_length(y[drawn], delta[drawn])", "lambda drawn: np.full(len(drawn), equal_length(y[None], delta[None])[0])", "evaluation/test_win_rates.py::test_the_interval_of_the_fit_holds_the_truth"),
    ("length: all won is certain", WIN_RATES, "if np.ptp(per_post(y)) < 1e-9:", "if False:", "evaluation/test_win_rates.py::test_all_won_is_not_certain"),
    ("length: fitted far from equal length", WIN_RATES, "OVERLAP = 2  #", "OVERLAP = 0  #", "evaluation/test_win_rates.py::test_nothing_is_known_of_equal_length_where_one_model_is_always_longer"),
    ("tables: each process for itself", TABLES, "PartialState(cpu=not torch.cuda.is_available())", "PartialState()", "evaluation/test_evaluation_files.py::test_two_processes_write_the_same"),
    ("length: no warning", WIN_RATES, "if abs(apart) <= NEAR:", "if apart <= 1:", "evaluation/test_win_rates.py::test_a_lead_by_length_alone_vanishes"),
    ("best of N: drawn with replacement", BEST_OF_N, "return np.concatenate([np.zeros(n - 1), chance / chance.sum()])", "return np.diff((np.arange(samples + 1) / samples) ** n)", "evaluation/test_best_of_n.py::test_against_all_subsets"),
    ("best of N: the worst", BEST_OF_N, "order = r.argsort(1, kind=\"stable\")", "order = (-r).argsort(1, kind=\"stable\")", "evaluation/test_best_of_n.py::test_one_is_the_mean_and_all_the_best"),
    ("best of N: chosen by gold", BEST_OF_N, "order = r.argsort(1, kind=\"stable\")", "order = v.argsort(1, kind=\"stable\")", "evaluation/test_best_of_n.py::test_the_curve_has_gold_where_it_is_known"),
    ("best of N: ties by position", BEST_OF_N, "return (np.bincount(group, values) / count)[group]", "return values", "evaluation/test_best_of_n.py::test_equal_samples_are_chosen_alike_whatever_their_order"),
    ("best of N: bound of log N", BEST_OF_N, "return math.log(n) - (n - 1) / n", "return math.log(n)", "evaluation/test_best_of_n.py::test_the_bound_is_met_where_all_responses_differ_and_far_off_where_few_do"),
    ("verdict: by the value", VERDICT, "if low is not None and low > 0.5:", "if win_rate[\"value\"] > 0.5:", "evaluation/test_verdict.py::test_three_verdicts"),
    ("verdict: no power", VERDICT, " + normal.inv_cdf(POWER)) * spread", ") * spread", "evaluation/test_verdict.py::test_what_is_called_detectable_is_detected_four_times_in_five"),
    ("verdict: ties are certain", VERDICT, "or 0.5  # all ties", "or 1e-9  # all ties", "evaluation/test_verdict.py::test_detectable_by_hand"),
    ("repetition: of distinct n-grams", REPETITION, "1 - len(set(grams)) / len(grams)", "len(set(grams)) / len(grams)", "evaluation/test_verdict.py::test_repeated_share_by_hand"),
    ("judge: one order", JUDGE, "return (here + 1 - there) / 2,", "return here,", "evaluation/test_judge.py::test_both_orders"),
    ("judge: asked again", JUDGE, "if question not in answers:", "if True:", "evaluation/test_judge.py::test_an_answer_is_asked_for_once"),
    ("judge: any number is an answer", JUDGE, "if not 0 <= answer <= 1:", "if False:", "evaluation/test_judge.py::test_a_judge_that_fails_is_named"),
    ("judge: agreement for κ", JUDGE, "np.divide(agreed - chance, 1 - chance,", "np.divide(agreed, np.ones_like(chance),", "evaluation/test_judge.py::test_kappa_by_hand"),
    ("judge: each pair the same way round", JUDGE, "[:: -1 if number % 2 else 1]", "[::1]", "evaluation/test_judge.py::test_agreement_shows_each_second_pair_the_other_way_round"),
    ("judge: texts of other posts", JUDGE, "zip(bodies, texts[first], texts[second], strict=True)", "zip(bodies, texts[first], texts[second][::-1], strict=True)", "evaluation/test_judge.py::test_a_judge_compares_texts_of_the_same_post"),
    ("gold: of another post", GOLD, "prompts[row % len(prompts)]", "prompts[row // len(texts)]", "evaluation/test_record.py::test_gold_is_of_each_text_under_its_own_post"),
    ("gold: NaN", GOLD, "if not math.isfinite(found[-1]):", "if False:", "evaluation/test_record.py::test_gold_is_of_each_text_under_its_own_post"),
    ("evaluation: rows post by post", RECORD, ".reshape(-1, posts).T", ".reshape(posts, -1)", "evaluation/test_record.py::test_rows_are_sample_by_sample"),
    ("evaluation: copied from another post", RECORD, "copied_share(text, bodies[row % n])", "copied_share(text, bodies[0])", "evaluation/test_record.py::test_texts_are_measured_against_their_own_posts"),
    ("evaluation: stemmed or other ROUGE", RECORD, "rouge_rows(texts, [labels[row % n]", "rouge_rows([text.lower()[:-1] for text in texts], [labels[row % n]", "evaluation/test_record.py::test_rouge_is_rouge_scores_to_the_last_digit"),
    ("evaluation: reward over the mean label", RECORD, "mean(per_post(model[\"reward\"]) - per_post(label[\"reward\"]))", "mean(model[\"reward\"])", "evaluation/test_record.py::test_figures"),
    ("evaluation: difference reversed", RECORD, "mean(per_post(ours[\"reward\"]) - per_post(theirs[\"reward\"]))", "mean(per_post(theirs[\"reward\"]) - per_post(ours[\"reward\"]))", "evaluation/test_record.py::test_comparisons"),
    ("evaluation: label left out", RECORD, " + [(name, LABEL) for name in models]", "", "evaluation/test_record.py::test_who_is_compared_with_whom"),
    ("rouge: average of four", "summarize_rlhf/rouge.py", "sum(row[kind] for kind in KINDS)", "sum(row.values())", "evaluation/test_record.py::test_the_average_is_of_three"),
    ("kept rows: from another model", KEPT_ROWS, "content.get(\"made_from\") == key", "True", "run/test_kept_rows.py::test_what_was_made_from_something_else_is_made_again"),
    ("kept rows: nothing kept", KEPT_ROWS, "kept.write_value(file, {\"made_from\"", "kept.drop(file) and (file, {\"made_from\"", "run/test_kept_rows.py::test_a_stopped_run_goes_on_at_its_chunk"),
    ("kept rows: every process does all", KEPT_ROWS, "rows[state.process_index :: state.num_processes]", "rows[state.process_index * 0 :]", "run/test_kept_rows.py::test_processes_share_a_chunk"),
    ("kept rows: in the order of arrival", KEPT_ROWS, "in sorted(shares, key=lambda share: share[0])]", "in shares]", "run/test_kept_rows.py::test_processes_share_a_chunk"),
    ("kept rows: a model is its name", KEPT_ROWS, "[str(file), file.stat().st_size, file.stat().st_mtime_ns]", "[str(file)]", "run/test_kept_rows.py::test_a_model_that_was_written_again_is_another"),
    ("answers: a changed line counts", ANSWERS, "if row[\"sha256\"] == _hash(question, answer) else None", "", "run/test_kept_rows.py::test_answers_outlive_a_kill_and_torn_or_changed_lines_do_not_count"),
    ("answers: a torn line takes the next", ANSWERS, "if content and not content.endswith(b\"\\n\"):", "if False:", "run/test_kept_rows.py::test_answers_outlive_a_kill_and_torn_or_changed_lines_do_not_count"),
    ("named function: two of one file are one", NAMED, "f\"{name} {' '.join(hashes)}\"", "f\"{' '.join(hashes)}\"", "run/test_kept_rows.py::test_a_function_beside_the_user_is_found"),
    ("named function: what it imports has no part", NAMED, "not file.startswith(INSTALLED)}", "not file}", "run/test_kept_rows.py::test_a_function_is_another_one_when_what_its_file_imports_has_changed"),
    ("tables: among a stage's files", EVALUATION_FILES, "if samples or (folder / RUN_FILE).exists():", "if samples:", "evaluation/test_evaluation_dir.py::test_a_stages_directory_is_refused"),
    ("tables: among a stage's samples", EVALUATION_FILES, "if samples or (folder / RUN_FILE).exists():", "if (folder / RUN_FILE).exists():", "evaluation/test_evaluation_dir.py::test_a_stages_directory_is_refused"),
    ("tables: beside summaries of other models", EVALUATION_FILES, "stale = summaries_in(folder) - set(files)", "stale = set()", "evaluation/test_evaluation_dir.py::test_an_earlier_evaluation_is_replaced_with_all_its_summaries"),
    ("tables: a post twice is two", EVALUATION_FILES, "return rows.select(first.values()), len(rows) - len(first)", "return rows, len(rows) - len(first)", "evaluation/test_evaluation_dir.py::test_one_row_a_post"),
    ("named function: any object", NAMED, "if not callable(found):", "if False:", "run/test_kept_rows.py::test_a_function_beside_the_user_is_found"),
    ("tables: a label's EOS does not count", FIGURES, "len(found) - len(prefix_ids(first.tokenizer)) + 1 for", "len(found) - len(prefix_ids(first.tokenizer)) for", "evaluation/test_evaluation_files.py::test_figures_are_those_of_the_summaries"),
    ("tables: best-of-N without gold", FIGURES, "curve(rewards, known)}", "curve(rewards)}", "evaluation/test_evaluation_files.py::test_best_of_n_is_of_samples_of_the_first_model"),
    ("tables: samples of another temperature go on", SUMMARISER, "drawn = [self.temperature, seeds] if", "drawn = [seeds] if", "evaluation/test_evaluation_files.py::test_samples_kept_under_other_options_are_drawn_again"),
    ("tables: samples of another seed go on", SUMMARISER, "drawn = [self.temperature, seeds] if", "drawn = [self.temperature] if", "evaluation/test_evaluation_files.py::test_samples_kept_under_other_options_are_drawn_again"),
    ("tables: samples all alike", SUMMARISER, "uniforms=draws[list(rows)]", "uniforms=draws[[row % len(prompts) for row in rows]]", "evaluation/test_evaluation_files.py::test_two_samples_of_a_post_differ_and_each_has_its_own_reward"),
    ("tables: best-of-N of the summaries' stream", TEST_SET, "\"sample\", samples, kept, stream=1)", "\"sample\", samples, kept)", "evaluation/test_evaluation_files.py::test_best_of_n_is_of_samples_of_the_first_model"),
    ("tables: unfinished rows stay", TABLES, "    kept.drop()\n", "", "evaluation/test_evaluation_files.py::test_the_files"),
    ("tables: one name twice", TABLES, "if name.lower() in map(str.lower, models):", "if name in models:", "evaluation/test_evaluation_arguments.py::test_wrong_arguments_are_one_line"),
    ("tables: samples of other posts", FIGURES, "summary = results.summaries[model.name, way][i]", "summary = results.summaries[model.name, way][-1 - i]", "evaluation/test_evaluation_files.py::test_samples_are_the_first_summaries"),
    ("evaluation: why the reward fell", FIGURES, "for model in names[1::-1]", "for model in names[:2]", "evaluation/test_evaluation_files.py::test_figures_are_those_of_the_summaries"),
    ("tables: a post of blanks", TABLES, "if not body.strip():", "if False:", "evaluation/test_evaluation_arguments.py::test_one_post"),
    ("best of none", BEST_OF_N, "if not 1 <= n <= samples:", "if not 0 <= n <= samples:", "evaluation/test_best_of_n.py::test_one_is_the_mean_and_all_the_best"),
    ("verdict: spread about the mean", VERDICT, "np.sqrt(np.mean(x**2))", "np.std(x)", "evaluation/test_verdict.py::test_detectable_by_hand"),
    ("resamples of more posts than are held at once", ESTIMATES, "max(1, AT_ONCE // posts)", "AT_ONCE // posts", "evaluation/test_estimates.py::test_resamples_are_the_same_however_many_are_held_at_once"),
]
