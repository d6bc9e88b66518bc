# ruff: noqa: E501  a table, one mutation a line
"""The page of a run: escaping, missing pieces, the verdict's wording, what the plots and the browser show."""

PAGE = "summarize_rlhf/report_page/page.py"
VERDICT = "summarize_rlhf/report_page/verdict.py"
SAMPLES = "summarize_rlhf/report_page/samples.py"
CURVES = "summarize_rlhf/report_page/curves.py"
PLOTS = "summarize_rlhf/report_page/plots.py"
FACTS = "summarize_rlhf/report_page/facts.py"
MATERIAL = "summarize_rlhf/report_page/material.py"
NUMBERS = "summarize_rlhf/report_page/numbers.py"

# fmt: off
ROWS = [
    ("page: texts taken for HTML", PAGE, "environment(autoescape=True)", "environment(autoescape=False)", "report_page/test_page.py::test_texts_of_a_run_stay_texts"),
    ("page: control characters kept", PAGE, "lambda found: printable(found[0])", "lambda found: found[0]", "report_page/test_page.py::test_texts_of_a_run_stay_texts"),
    ("page: script of another hash", PAGE, "hashlib.sha256(script.encode())", "hashlib.sha256(script.strip().encode())", "report_page/test_page.py::test_nothing_on_the_page_asks_for_a_network"),
    ("page: network allowed", "summarize_rlhf/report_page/report.html.jinja", "default-src 'none'; ", "", "report_page/test_page.py::test_nothing_on_the_page_asks_for_a_network"),
    ("page: backticks end a block", PAGE, "\"`\" * max(3, longest + 1)", "\"`\" * 3", "report_page/test_page.py::test_no_backticks_end_a_block_of_code"),
    ("page: into the handed-over directory", PAGE, "if (directory / RUN_FILE).is_file() else directory", "if False else directory", "report_page/test_page.py::test_the_command"),
    ("page: colours of its own", PLOTS, "lambda found: COLOURS.get(found[0], \"\")", "lambda found: found[0] if found[0] in COLOURS else \"\"", "report_page/test_page.py::test_plots_have_the_pages_colours"),
    ("page: a plot's style holds everywhere", PLOTS, 'r"<defs>\\s*<style.*?</defs>", ', "", "report_page/test_page.py::test_plots_have_the_pages_colours"),
    ("page: the last memory for the most", FACTS, "[place] = max(logged)", "[place] = logged[-1]", "report_page/test_page.py::test_costs_are_seconds_and_the_most_memory"),
    ("page: memory for seconds", FACTS, '"cost": found.seconds}', '"cost": cost(found)}', "report_page/test_page.py::test_costs_are_seconds_and_the_most_memory"),
    ("verdict: a mean that contradicts is not told", VERDICT, "mean and change(mean)", "None", "report_page/test_page_verdict.py::test_a_mean_that_contradicts_the_win_rate_is_told"),
    ("verdict: a mean within its interval of 0 contradicts", VERDICT, '(difference["low"] or 0) > 0', 'difference["value"] > 0', "report_page/test_page_verdict.py::test_a_mean_that_contradicts_the_win_rate_is_told"),
    ("page: missing pieces not told", FACTS, "if name not in there}", "if False}", "report_page/test_page.py::test_a_missing_piece_names_the_command_that_fills_it"),
    ("page: NaN taken for a number", NUMBERS, "plain and math.isfinite(value)", "plain", "report_page/test_page_verdict.py::test_what_is_not_known_is_not_said"),
    ("page: NaN of a record in report.json", PAGE, "parse_constant=lambda name: None", "parse_constant=float", "report_page/test_page.py::test_what_is_not_as_agreed_is_left_out"),
    ("page: torn line not left out", MATERIAL, '"metrics.jsonl", torn=True', '"metrics.jsonl"', "report_page/test_page.py::test_a_line_that_is_torn_is_left_out"),
    ("verdict: gaming not said", VERDICT, "tone = \"gamed\" if (said, change(gold)) == (\"better\", \"falls\") else tone", "tone = said", "report_page/test_page_verdict.py::test_the_sentence"),
    ("verdict: gold rises where its interval holds 0", VERDICT, '(difference["low"] or 0) > 0', 'difference["value"] >= 0', "report_page/test_page_verdict.py::test_the_sentence"),
    ("verdict: worse for better", VERDICT, "\"worse\": \"{} is worse than", "\"worse\": \"{} is better than", "report_page/test_page_verdict.py::test_the_sentence"),
    ("verdict: gold of other posts", VERDICT, "pairs = [pair for pair in pairs if None not in pair]", "pairs = [[x or 0 for x in pair] for pair in pairs]", "report_page/test_page_verdict.py::test_gold_is_paired_by_post"),
    ("verdict: the first comparison leads", VERDICT, "(models[-1], models[0]) if models else None", "None", "report_page/test_page_verdict.py::test_the_last_model_against_the_first_leads"),
    ("samples: worst for best", SAMPLES, "\"best\": ranked[::-1][:EACH]", "\"best\": ranked[:EACH]", "report_page/test_content.py::test_posts_of_each_view"),
    ("samples: agreement for disagreement", SAMPLES, "np.argsort(-abs(", "np.argsort(abs(", "report_page/test_content.py::test_posts_of_each_view"),
    ("samples: other random posts at each call", SAMPLES, "random.Random(SEED)", "random.Random()", "report_page/test_content.py::test_random_posts_are_the_same_at_each_call"),
    ("plane: KL of the nearest collection", CURVES, "np.interp(steps, kl[\"step\"], kl[\"value\"]).tolist()", "[kl[\"value\"][0] for _ in steps]", "report_page/test_content.py::test_an_evaluation_lies_between_its_collections"),
    ("plane: best of N not over the label", CURVES, "[x - label for x in reward]", "reward", "report_page/test_content.py::test_best_of_n_is_less_the_labels_reward"),
]
