# ruff: noqa: E501  a table, one mutation a line
"""Statistics of an evaluation: intervals, win rates, best-of-N, verdicts, judges."""

BEST_OF_N = "summarize_rlhf/evaluation/best_of_n.py"
ESTIMATES = "summarize_rlhf/evaluation/estimates.py"
JUDGE = "summarize_rlhf/evaluation/judge.py"
REPETITION = "summarize_rlhf/evaluation/repetition.py"
VERDICT = "summarize_rlhf/evaluation/verdict.py"
WIN_RATES = "summarize_rlhf/evaluation/win_rates.py"

# fmt: off
ROWS = [
    ("interval: not expanded", ESTIMATES, "confidence_level=level(posts)", "confidence_level=CONFIDENCE", "evaluation/test_estimates.py::test_close_to_the_t_interval"),
    ("interval: expanded by n / (n − 1)", ESTIMATES, "math.sqrt(posts / (posts - 1))", "(posts / (posts - 1))", "evaluation/test_estimates.py::test_the_level_by_hand"),
    ("interval: samples are posts", ESTIMATES, "return x.reshape(len(x), -1).mean(1)", "return x.reshape(-1)", "evaluation/test_estimates.py::test_samples_are_averaged_before_posts"),
    ("interval: of one post", ESTIMATES, "if posts == 1:", "if posts == 0:", "evaluation/test_estimates.py::test_one_post_has_no_interval"),
    ("interval: a rate by the bootstrap", ESTIMATES, "found = accuracy(x.tolist(), range(len(x)))", "found = dict(zip((\"accuracy\", \"accuracy_low\", \"accuracy_high\"), mean(x).values(), strict=True))", "evaluation/test_estimates.py::test_equal_values_are_a_point_and_equal_outcomes_are_not"),
    ("win rate: ties lose", WIN_RATES, "np.heaviside(a - b, 0.5)", "np.heaviside(a - b, 0.0)", "evaluation/test_win_rates.py::test_ties_count_half"),
    ("win rate: reversed", WIN_RATES, "np.heaviside(a - b, 0.5)", "np.heaviside(b - a, 0.5)", "evaluation/test_win_rates.py::test_ties_count_half"),
    ("win rate: samples meet their like alone", WIN_RATES, "np.repeat(a, b.shape[1], axis=1)", "np.tile(a, (1, b.shape[1]))", "evaluation/test_win_rates.py::test_each_sample_meets_each_of_the_same_post"),
    ("length: no tanh", WIN_RATES, "x = np.tanh(np.divide(", "x = (np.divide(", "evaluation/test_win_rates.py::test_a_lead_that_length_hides_appears"),
    ("length: not divided by its spread", WIN_RATES, "np.divide(delta, spread, out", "np.divide(delta, np.where(spread > 0, 1.0, 0.0), out", "evaluation/test_win_rates.py::test_the_unit_of_length_does_not_matter"),
    ("length: no penalty", WIN_RATES, "rest = y - p + leverage * (0.5 - p)", "rest = y - p", "evaluation/test_win_rates.py::test_the_fit_against_a_slow_search"),
    ("length: leverage without its cross term", WIN_RATES, "2 * side[:, None] * x", "0 * side[:, None] * x", "evaluation/test_win_rates.py::test_the_fit_against_a_slow_search"),
    ("length: an unvarying length counts", WIN_RATES, "flat = determinant <= 1e-9 * a * a", "flat = determinant < 0", "evaluation/test_win_rates.py::test_without_differences_in_length_it_is_the_raw_rate_with_half_a_win_and_half_a_loss"),
    ("length: fitted once", WIN_RATES, "lambda drawn: equal_length(y[drawn], delta[drawn])", "lambda drawn: np.full(len(drawn), equal_length(y[None], delta[None])[0])", "evaluation/test_win_rates.py::test_the_interval_of_the_fit_holds_the_truth"),
    ("length: all won is certain", WIN_RATES, "if per_post(y).std() == 0:", "if False:", "evaluation/test_win_rates.py::test_all_won_is_not_certain"),
    ("length: no warning", WIN_RATES, "if abs(apart) <= NEAR:", "if apart <= 1:", "evaluation/test_win_rates.py::test_a_lead_by_length_alone_vanishes"),
    ("best of N: drawn with replacement", BEST_OF_N, "return comb(np.arange(samples), n - 1) / comb(samples, n)", "return np.diff((np.arange(samples + 1) / samples) ** n)", "evaluation/test_best_of_n.py::test_against_all_subsets"),
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
]
