# ruff: noqa: E501  a table, one mutation a line
"""Stage 2, the reward model: training, scores, the reward test."""

ACCURACY = "reward_model/accuracy.py"
ARGUMENTS = "summarize_rlhf/run/trainer_arguments.py"
ENCODING = "reward_model/encoding.py"
INTERVALS = "summarize_rlhf/intervals.py"
LABEL_SCORES = "reward_model/label_scores.py"
LOSS = "reward_model/loss.py"
MODEL = "reward_model/reward_model.py"
PAIRS = "reward_model/comparisons.py"
SCORING = "reward_model/scoring.py"
STAGE = "reward_model/train_reward_model_gptj.py"
TEST = "reward_model/gptj_reward_test.py"

# fmt: off
ROWS = [
    # options on their way to the optimizer
    ("RM: learning_rate ignored", ARGUMENTS, "        learning_rate=args.learning_rate,\n", "", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: adam_beta1 ignored", ARGUMENTS, "        adam_beta1=args.adam_beta1,\n", "", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: adam_beta2 ignored", ARGUMENTS, "        adam_beta2=args.adam_beta2,\n", "", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: adam_epsilon ignored", ARGUMENTS, "        adam_epsilon=args.adam_epsilon,\n", "", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: weight_decay ignored", ARGUMENTS, "        weight_decay=args.weight_decay,\n", "", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: warmup_steps ignored", ARGUMENTS, "        warmup_steps=args.warmup_steps,\n", "", "reward_model/test_formulas_reward_model.py::test_rate_of_each_step"),
    ("RM: lr_scheduler_type ignored", ARGUMENTS, "        lr_scheduler_type=args.lr_scheduler_type,\n", "", "reward_model/test_formulas_reward_model.py::test_rate_of_each_step"),
    ("RM: max_steps ignored", ARGUMENTS, "        max_steps=args.max_steps,\n", "", "reward_model/test_formulas_reward_model.py::test_rate_of_each_step"),
    # what is trained, on what
    ("RM: order by another seed", STAGE, "LengthGroupedSampler(lengths, args.global_batch_size, args.seed)", "LengthGroupedSampler(lengths, args.global_batch_size, 42)", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: head by another seed", STAGE, "torch.manual_seed(args.seed)", "torch.manual_seed(42)", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: another loss than asked", STAGE, "self.pair_loss = LOSSES[loss]", "self.pair_loss = LOSSES[\"pairwise\"]", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: share of trained blocks ignored", STAGE, "model.freeze(args.trainable_fraction)", "model.freeze(0.3)", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: share of blocks rounded up", MODEL, "int(trainable_fraction * len(blocks) + 1e-6)", "-int(-trainable_fraction * len(blocks) // 1)", "reward_model/test_reward_model.py::test_the_top_blocks_final_norm_and_head_are_trained"),
    ("RM: one block more is frozen", MODEL, "self.depth = len(blocks) - trained\n", "self.depth = min(len(blocks) - trained + 1, len(blocks) - 1)\n", "reward_model/test_reward_model.py::test_the_top_blocks_final_norm_and_head_are_trained"),
    ("RM: max_length ignored", STAGE, "encode_comparisons(part, tokenizer, args.max_length, first", "encode_comparisons(part, tokenizer, 550, first", "reward_model/test_formulas_reward_model.py::test_weights_are_those_of_adamw"),
    ("RM: rows of test unlimited", STAGE, "(\"test\", args.max_eval_rows)", "(\"test\", None)", "reward_model/test_formulas_reward_model.py::test_figures_are_those_of_the_first_rows_of_test"),
    ("RM: accuracy on train", STAGE, "eval_dataset=encoded[\"test\"]", "eval_dataset=encoded[\"train\"]", "reward_model/test_formulas_reward_model.py::test_figures_are_those_of_the_first_rows_of_test"),
    # loss
    ("RM: loss counts one token before the difference", LOSS, "(positions >= start[:, None])", "(positions >= start[:, None] - 1)", "reward_model/test_reward_loss.py::test_pairwise_loss_by_hand"),
    ("RM: loss ends with the shorter text", LOSS, "end = chosen_lengths.maximum(rejected_lengths)\n    scored", "end = chosen_lengths.minimum(rejected_lengths)\n    scored", "reward_model/test_reward_loss.py::test_pairwise_loss_is_the_loop"),
    ("RM: loss ends one token late", LOSS, "(positions < end[:, None])", "(positions <= end[:, None])", "reward_model/test_reward_loss.py::test_pairwise_loss_is_the_loop"),
    ("RM: shorter text's value read in its padding", LOSS, "values.gather(1, positions.minimum(lengths[:, None] - 1))", "values", "reward_model/test_reward_loss.py::test_pairwise_loss_is_the_loop"),
    ("RM: score one token early", LOSS, "return values.gather(1, lengths[:, None] - 1)", "return values.gather(1, lengths[:, None] - 2)", "reward_model/test_reward_loss.py::test_last_token_loss_by_hand"),
    ("RM: loss divided by all positions", LOSS, "per_token.sum(1) / scored.sum(1).clamp(min=1)", "per_token.mean(1)", "reward_model/test_reward_loss.py::test_pairwise_loss_by_hand"),
    ("RM: last token's loss of equal pairs", LOSS, "-logsigmoid(difference.float()) * differs", "-logsigmoid(difference.float())", "reward_model/test_reward_loss.py::test_an_equal_pair_adds_nothing"),
    # figures
    ("RM: ties count as right", ACCURACY, "return chosen > rejected", "return chosen >= rejected", "reward_model/test_formulas_reward_model.py::test_a_tie_is_no_preference"),
    ("RM: margin reversed", ACCURACY, "\"margin\": float((chosen - rejected).mean())", "\"margin\": float((rejected - chosen).mean())", "reward_model/test_formulas_reward_model.py::test_figures_are_those_of_the_first_rows_of_test"),
    ("reward test: standard error without root", INTERVALS, "se = math.sqrt(sum(total**2 for total in sums.values())) / len(right)", "se = sum(total**2 for total in sums.values()) / len(right)", "reward_model/test_formulas_reward_model.py::test_a_tie_is_no_preference"),
    ("reward test: max_length ignored", TEST, "        max_length=args.max_length,\n", "", "reward_model/test_formulas_reward_model.py::test_reward_test_cuts_where_it_is_told"),
    ("reward test: another split", TEST, "load_comparisons(args.dataset, args.split, args.max_rows, ", "load_comparisons(args.dataset, \"test\", args.max_rows, ", "reward_model/test_formulas_reward_model.py::test_reward_test_cuts_where_it_is_told"),
    # pairs and texts
    ("RM: the longer summary is counted", PAIRS, "if min(len(row[", "if max(len(row[", "reward_model/test_comparisons.py::test_pairs_that_teach_nothing_are_left_out_and_counted"),
    ("RM: four words will do", PAIRS, "MIN_WORDS = 5", "MIN_WORDS = 4", "reward_model/test_comparisons.py::test_pairs_that_teach_nothing_are_left_out_and_counted"),
    ("RM: each summary's own cut", ENCODING, "                body = cut_post(", "                cut = cut_post(", "reward_model/test_comparisons.py::test_the_post_is_cut_and_both_texts_follow_the_same_one"),
    # scores
    ("scorer: max_length of training ignored", SCORING, "record[\"max_length\"] if record else MAX_LENGTH", "MAX_LENGTH", "reward_model/test_scoring.py::test_max_length_comes_from_training"),
    ("scorer: text limit ignored", SCORING, "[(s,) for _, s in first], self.max_length, where)", "[(s,) for _, s in first], MAX_LENGTH, where)", "reward_model/test_scoring.py::test_a_too_long_post_is_cut_never_the_summary"),
    ("scorer: batch_tokens ignored", SCORING, "[start : start + most]], self.batch_tokens)", "[start : start + most]], 16384)", "reward_model/test_formulas_reward_scores.py::test_a_forward_pass_holds_no_more_than_batch_tokens"),
    ("scorer: batch_tokens counts without padding", SCORING, "fit = max(1, most // longest)", "fit = max(1, 2 * most // longest)", "reward_model/test_scoring.py::test_batches_hold_little_padding"),
    ("scorer: the place of another text", SCORING, "first.setdefault(pair, i)", "first.setdefault(pair, 0)", "reward_model/test_scoring.py::test_a_text_behind_a_repeated_one_is_named_by_its_own_place"),
    ("scorer: in training mode", SCORING, "        self.model.eval()\n        device", "        device", "reward_model/test_formulas_reward_scores.py::test_scores_have_no_dropout"),
    ("labels: of another row", LABEL_SCORES, "[labels[i] for i in mine]", "[labels[i - 1] for i in mine]", "reward_model/test_label_scores.py::test_scores_are_the_scorers_and_the_second_start_computes_none"),
    ("labels: tokenizer does not matter", LABEL_SCORES, " {tokenizer_hash(scorer.tokenizer)} ", " ", "reward_model/test_formulas_reward_scores.py::test_labels_are_scored_anew_where_the_scorer_differs"),
    ("labels: length does not matter", LABEL_SCORES, " {scorer.max_length}", "", "reward_model/test_formulas_reward_scores.py::test_labels_are_scored_anew_where_the_scorer_differs"),
    ("labels: known by the summary alone", LABEL_SCORES, "hashlib.sha256(rm_text(*pair).encode())", "hashlib.sha256(pair[1].encode())", "reward_model/test_formulas_reward_scores.py::test_labels_are_known_by_post_and_summary"),
]
