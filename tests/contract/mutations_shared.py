# ruff: noqa: E501  a table, one mutation a line
"""What the stages agree on: data, tokenizer, ROUGE, intervals, hand-over, tables."""

HANDOVER = "summarize_rlhf/handover.py"
READING = "summarize_rlhf/reading.py"
RECORDS = "summarize_rlhf/records.py"
INTERVALS = "summarize_rlhf/intervals.py"
KEPT_REWARDS = "reward_model/kept_rewards.py"
PUBLISHED_TABLES = "summarize_rlhf/lm/published_tables.py"
SAMPLER = "summarize_rlhf/run/sampler.py"
SFT = "sft/train_gptj_summarize.py"
STAGE3 = "trlx_gptj_text_summarization.py"
SUMMARISER = "summarize_rlhf/lm/summariser.py"
TABLES = "trlx_inference_gptj.py"
TOKENIZER = "summarize_rlhf/tokenizer.py"
TRAINER_ARGUMENTS = "summarize_rlhf/run/trainer_arguments.py"
WEIGHTS = "summarize_rlhf/lm/weights.py"

# fmt: off
ROWS = [
    ("hand-over: hashes unchecked", HANDOVER, "elif sha256_of(file) != sha256:", "elif False:", "contract/test_handover.py::test_a_directory_that_was_damaged_since_is_refused"),
    # order of rows
    ("sampler ignores its seed", SAMPLER, "manual_seed(self.seed + self.epoch)", "manual_seed(self.epoch)", "contract/test_formulas.py::test_order_of_each_epoch"),
    ("sampler ignores the epoch", SAMPLER, "manual_seed(self.seed + self.epoch)", "manual_seed(self.seed)", "contract/test_formulas.py::test_order_of_each_epoch"),
    ("sampler drops the last batch", SAMPLER, "torch.cat([*shuffled, *rest])", "torch.cat([*shuffled, *rest[1:]] or [order])", "contract/test_formulas.py::test_order_of_each_epoch"),
    ("sampler does not sort", SAMPLER, "rows[torch.tensor(self.lengths)[rows].argsort(stable=True)]", "rows", "contract/test_formulas.py::test_order_of_each_epoch"),
    ("sampler sorts all rows at once", SAMPLER, "order.split(self.batch_size * self.chunk)", "order.split(len(order))", "contract/test_formulas.py::test_order_of_each_epoch"),
    # hand-over
    ("tokenizer's hash ignores the pad id", TOKENIZER, "tokenizer.eos_token_id, tokenizer.pad_token_id, ids]", "tokenizer.eos_token_id, ids]", "contract/test_formulas.py::test_hash_sees_each_special_token"),
    ("tokenizer's hash ignores the EOS id", TOKENIZER, "tokenizer.eos_token_id, tokenizer.pad_token_id, ids]", "tokenizer.pad_token_id, ids]", "contract/test_formulas.py::test_hash_sees_each_special_token"),
    ("tokenizer's hash ignores the vocabulary", TOKENIZER, "sorted(tokenizer.get_vocab().items())", "len(tokenizer.get_vocab())", "contract/test_formulas.py::test_hash_sees_a_token_that_no_probe_holds"),
    ("model of exactly the length refused", WEIGHTS, "if positions is not None and tokens > positions:", "if positions is not None and tokens >= positions:", "contract/test_formulas.py::test_model_gets_the_tokenizers_ids_and_may_be_filled"),
    ("model keeps its own pad id", WEIGHTS, "        set_ends(ids, tokenizer)\n", "        ids.eos_token_id = tokenizer.eos_token_id\n", "contract/test_formulas.py::test_model_gets_the_tokenizers_ids_and_may_be_filled"),
    ("a run goes on at another rate", SFT, "AdamW's peak learning rate\", least=0)", "AdamW's peak learning rate\", least=0, may_change=True)", "contract/test_formulas.py::test_what_a_run_may_not_change"),
    ("a run goes on with another seed", SFT, "least=0, below=2**32)", "least=0, below=2**32, may_change=True)", "contract/test_formulas.py::test_what_a_run_may_not_change"),
    ("a linear schedule goes on to another length", TRAINER_ARGUMENTS, "return args.lr_scheduler_type.startswith(\"constant\")", "return True", "contract/test_formulas.py::test_what_a_run_may_not_change"),
    # stage 3
    ("stage 3: label's score added", STAGE3, "scorer.score(body, outputs) - torch.tensor(label_score)", "scorer.score(body, outputs) + torch.tensor(label_score)", "contract/test_formulas_tables.py::test_reward_is_the_sample_less_its_own_label"),
    ("stage 3: label's score left out", STAGE3, "scorer.score(body, outputs) - torch.tensor(label_score)", "scorer.score(body, outputs)", "contract/test_formulas_tables.py::test_reward_is_the_sample_less_its_own_label"),
    ("stage 3: evaluates on train", STAGE3, "make_prompts(task.dataset, \"valid\"", "make_prompts(task.dataset, \"train\"", "contract/test_formulas_tables.py::test_reward_is_the_sample_less_its_own_label"),
    ("stage 3: prompts take the response's room", STAGE3, "room = config.train.seq_length - config.method.longest_response()", "room = config.train.seq_length", "contract/test_formulas_tables.py::test_reward_is_the_sample_less_its_own_label"),
    ("stage 3: labels' scores reversed", STAGE3, "for row, score in zip(rows, scores, strict=True):", "for row, score in zip(rows, scores[::-1], strict=True):", "contract/test_formulas_tables.py::test_reward_is_the_sample_less_its_own_label"),
    ("stage 3: another run's task goes on", STAGE3, "        \"max_eval_prompts\": task.max_eval_prompts,\n", "", "contract/test_formulas_tables.py::test_reward_is_the_sample_less_its_own_label"),
    ("stage 3: reward model's tokenizer unchecked", STAGE3, "    check_handover(task.reward_model, expects_stage=\"rm\", tokenizer=tokenizer)\n", "", "contract/test_formulas_tables.py::test_a_reward_model_of_another_tokenizer_is_refused"),
    # tables
    ("tables: greedy samples, samples are greedy", SUMMARISER, "do_sample=way == \"sample\"", "do_sample=way != \"sample\"", "contract/test_formulas_tables.py::test_each_summary_is_its_own_models_by_its_own_way"),
    ("tables: temperature ignored", SUMMARISER, "                temperature=self.temperature,\n", "", "contract/test_formulas_tables.py::test_each_summary_is_its_own_models_by_its_own_way"),
    ("tables: seed ignored", SUMMARISER, "seeds = [self.seed] if stream is None", "seeds = [0] if stream is None", "contract/test_formulas_tables.py::test_each_summary_is_its_own_models_by_its_own_way"),
    ("tables: prompts take the summary's room", SUMMARISER, "room = self.max_length - self.max_new_tokens", "room = self.max_length", "contract/test_formulas_tables.py::test_each_summary_is_its_own_models_by_its_own_way"),
    ("tables: max_new_tokens ignored", SUMMARISER, "                max_new_tokens=self.max_new_tokens,\n", "", "contract/test_formulas_tables.py::test_each_summary_is_its_own_models_by_its_own_way"),
    ("tables: rows unlimited", TABLES, "[\"prompt\", \"label\"], args.max_rows)", "[\"prompt\", \"label\"], None)", "contract/test_formulas_tables.py::test_each_summary_is_its_own_models_by_its_own_way"),
    ("tables: gain reversed", PUBLISHED_TABLES, "for n in (second, first))", "for n in (first, second))", "contract/test_formulas_tables.py::test_rewards_and_their_difference_are_those_of_each_row"),
    ("tables: delta reversed", PUBLISHED_TABLES, "(scores - label_scores).mean()", "(label_scores - scores).mean()", "contract/test_formulas_tables.py::test_rewards_and_their_difference_are_those_of_each_row"),
    ("tables: rewards of other posts", KEPT_REWARDS, "[bodies[post] for post in posts]", "[bodies[post - 1] for post in posts]", "contract/test_formulas_tables.py::test_rewards_and_their_difference_are_those_of_each_row"),
    ("tables: always the first way", TABLES, "return [\"greedy\", \"sample\"] if args.decoding == \"both\" else [args.decoding]", "return [\"greedy\", \"sample\"] if args.decoding == \"both\" else [\"greedy\"]", "contract/test_formulas_tables.py::test_one_way_alone"),
    # intervals and divergence
    # input from outside
    ("the oldest checkpoint for the newest", RECORDS, "key=lambda path: -int(", "key=lambda path: int(", "contract/test_records.py::test_the_model_of_a_directory_is_its_own_the_best_or_the_newest"),
    ("a log's lines as Python splits them", RECORDS, '.split("\\n")', ".splitlines()", "contract/test_records.py::test_lines_are_objects_and_a_torn_one_is_told_or_left_out"),
    ("a number among a log's lines", RECORDS, "if len(rows) < len(found) and not torn:", "if False:", "contract/test_records.py::test_lines_are_objects_and_a_torn_one_is_told_or_left_out"),
    ("a list for an object", RECORDS, "if not isinstance(content, kind):", "if False:", "contract/test_records.py::test_a_file_holds_what_is_expected_or_is_named"),
    ("a reader's error passes", READING, "    except Exception as error:\n", "    except ValueError as error:\n", "contract/test_reading.py::test_whatever_a_reader_raises_is_one_line_with_the_inputs_name"),
    ("out of memory is damage", READING, "        if is_out_of_memory(error):\n", "        if False:\n", "contract/test_reading.py::test_memory_that_does_not_suffice_is_no_damage"),
    ("memory of a CPU is damage", READING, "isinstance(error, RuntimeError | OSError) and", "isinstance(error, OSError) and", "contract/test_reading.py::test_what_torch_says_of_memory_on_a_cpu"),
    ("escapes reach the console", "summarize_rlhf/report.py", "printable(\" \".join(text.split()))", "text", "contract/test_reading.py::test_a_console_shows_what_it_would_obey"),
    ("escapes reach the error line", "summarize_rlhf/run/errors.py", "{printable(text)[:LONGEST]}", "{text}", "contract/test_reading.py::test_the_line_names_a_file_with_the_traceback"),
    ("traceback lost", "summarize_rlhf/run/errors.py", "{error}{_kept_traceback(error)}", "{error}", "contract/test_reading.py::test_the_line_names_a_file_with_the_traceback"),
    ("a cell is a formula", "summarize_rlhf/report.py", "value.lstrip(\"'\").startswith(FORMULA) else value", "False else value", "contract/test_reading.py::test_a_cell_is_no_formula_and_comes_back"),
    ("a cell does not come back", "summarize_rlhf/report.py", "return cell[1:] if", "return cell if", "contract/test_reading.py::test_a_cell_is_no_formula_and_comes_back"),
    ("a config that cannot compute", "summarize_rlhf/lm/weights.py", "    check_forward(path, model)\n", "", "lm/test_weights.py::test_a_config_that_loads_and_cannot_compute"),
    ("pairs' interval of 90 per cent", INTERVALS, "method=\"percentile\", rng=0", "method=\"percentile\", confidence_level=0.9, rng=0", "contract/test_intervals.py::test_the_interval_of_pairs_holds_the_truth_nineteen_times_in_twenty"),
    ("too old a version taken", "summarize_rlhf/versions.py", "(faults if below else later)", "later", "contract/test_versions.py::test_all_versions_below_their_range_are_named_at_once"),
    ("later versions refused", "summarize_rlhf/versions.py", "(faults if below else later)", "faults", "contract/test_versions.py::test_versions_above_their_range_are_told_and_taken"),
    ("interval of 90 per cent", INTERVALS, "(0.025, 0.975)", "(0.05, 0.95)", "contract/test_intervals.py::test_one_seed_is_the_bootstrap_over_posts"),
    ("seeds taken as they are", INTERVALS, "x[np.ix_(rng.integers(seeds, size=seeds), rng.integers(posts, size=posts))]", "x[:, rng.integers(posts, size=posts)]", "contract/test_intervals.py::test_eight_seeds_that_differ"),
    ("pairs on one post counted apart", INTERVALS, "sums[post] = sums.get(post, 0.0) + hit - share", "sums[len(sums)] = hit - share", "contract/test_intervals.py::test_pairs_on_one_post_count_as_one"),
    ("rounding leaves a share outside its interval", INTERVALS, "max(0.0, min(low, share)), min(1.0, max(high, share))", "low, high", "contract/test_intervals.py::test_rounding_leaves_no_share_outside"),
]
