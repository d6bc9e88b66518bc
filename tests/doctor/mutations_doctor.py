# ruff: noqa: E501  a table, one mutation a line
"""The doctor: each threshold, each condition that keeps a check from blaming the wrong cause, and who is blamed first."""

EVIDENCE = "summarize_rlhf/doctor/evidence.py"
RECORDS = "summarize_rlhf/records.py"
LOGS = "summarize_rlhf/doctor/logs.py"
FINDING = "summarize_rlhf/doctor/finding.py"
PPO = "summarize_rlhf/doctor/checks_ppo.py"
PROBES = "summarize_rlhf/doctor/probes.py"
RM = "summarize_rlhf/doctor/checks_rm.py"
SFT = "summarize_rlhf/doctor/checks_sft.py"
STEPS = "summarize_rlhf/doctor/further_steps.py"
VERDICT = "summarize_rlhf/doctor/verdict.py"

# fmt: off
ROWS = [
    # stage 1
    ("posts: cut ones are no fault", SFT, "MOST_CUT = 0.5", "MOST_CUT = 0.95", "doctor/test_checks_sft.py::test_posts_cut"),
    ("posts: the loss on the true text is not looked at", SFT, "sft.label_loss > TEXT_UNLIKE * reported", "False", "doctor/test_checks_sft.py::test_posts_cut"),
    ("EOS: any probability will do", SFT, "math.exp(-sft.eos_loss) >= 1 / sft.new_tokens or ", "", "doctor/test_checks_sft.py::test_eos_not_taught"),
    ("EOS: blamed where nothing was learned", SFT, " or sft.eos_loss <= EOS_UNLIKE * sft.label_loss", "", "doctor/test_checks_sft.py::test_eos_not_taught"),
    ("padding: the base model's own habit is blamed", SFT, "again <= 10 * base", "False", "doctor/test_checks_sft.py::test_padding_supervised"),
    ("rate: a rise is compared with the line before", SFT, "lowest = max(min(lowest, point.loss), LEAST_LOSS)", "lowest = max(point.loss, LEAST_LOSS)", "doctor/test_checks_sft.py::test_learning_rate_too_high"),
    ("a torn log is read as far as it goes", RECORDS, "                if not torn:", "                if False:", "doctor/test_evidence.py::test_a_torn_log_is_refused_by_name"),
    ("loss: the way is not that of learning rates", EVIDENCE, 'total += row["learning_rate"] * (row["step"] - before)', 'total += row["step"] - before', "doctor/test_evidence.py::test_a_folder_of_three_stages"),
    ("loss: the whole fall counts as late", FINDING, "(at_two_thirds - points[-1].loss)", "(start - points[-1].loss)", "doctor/test_checks_sft.py::test_late_fall"),
    ("summaries: the first words are no rival", SFT, "sft.rouge <= sft.lead_rouge", "sft.rouge < sft.lead_rouge / 2", "doctor/test_checks_sft.py::test_undertrained_by_the_summaries"),
    ("more steps after a whole pass", SFT, "passes >= 0.99", "passes >= 99", "doctor/test_checks_sft.py::test_undertrained_by_the_loss"),
    ("posts: no cut is counted", "sft/summarize_dataset.py", 'encoded["cut"].append(body != bodies[i])', 'encoded["cut"].append(False)', "sft/test_summarize_dataset.py::test_the_share_of_posts_that_lost_their_end"),
    # stage 2
    ("labels: below chance is chance", RM, "if last < 0.5 - margin:", "if last < 0.1:", "doctor/test_checks_rm.py::test_labels_flipped_in_training"),
    ("labels: a model that knows nothing is called flipped", RM, "or last <= 0.5 + margin ", "", "doctor/test_checks_rm.py::test_labels_flipped_everywhere"),
    ("template: other pairs are held for the same", RM, "same = rm.accuracies[-1], rm.pairs == rm.eval_pairs", "same = rm.accuracies[-1], True", "doctor/test_checks_rm.py::test_other_template"),
    ("length: the shorter one may always win", RM, "by_length = max(share, 1 - share)", "by_length = share", "doctor/test_checks_rm.py::test_pays_for_length"),
    ("length: one that has learned nothing pays for it", RM, "_has_learned(rm) and _beyond", "_beyond", "doctor/test_checks_rm.py::test_length_tells_more_than_the_labels"),
    ("length: flipped labels are no labels", RM, "max(rm.accuracy, 1 - rm.accuracy)", "rm.accuracy", "doctor/test_checks_rm.py::test_length_tells_more_than_the_labels"),
    ("length: without its standard errors", RM, "by_labels + 2 * standard_error(by_length, rm.pairs)", "by_labels", "doctor/test_checks_rm.py::test_length_tells_more_than_the_labels"),
    ("model: a Hub id is compared with a digest", RM, 'not re.fullmatch("[0-9a-f]{64}", rm.trained_from or "")', "rm.trained_from is None", "doctor/test_checks_rm.py::test_other_model"),
    ("post: an accuracy of chance is said not to read", RM, "if not known or swapped", "if swapped", "doctor/test_checks_rm.py::test_does_not_read"),
    ("rate: a reward model that never moved is called too fast", RM, " or worst < 1.5 * CHANCE", "", "doctor/test_checks_rm.py::test_learning_rate_too_high"),
    ("accuracy: chance is no fault", RM, "if abs(rm.accuracies[-1] - 0.5) <= 2 * standard_error(0.5, count):", "if rm.accuracies[-1] <= 0.5:", "doctor/test_checks_rm.py::test_undertrained"),
    ("rate: overwritten weights are no fault", FINDING, "OVERWRITTEN = 0.5", "OVERWRITTEN = 5.0", "doctor/test_checks_sft.py::test_weights_that_are_overwritten"),
    ("rate: overwritten, and as suspect where nothing was learned", RM, "SUSPECT if _has_learned(rm) else BROKEN", "SUSPECT", "doctor/test_checks_rm.py::test_a_model_that_is_overwritten_and_learned_little"),
    ("rate: a late fall alone is blamed", RM, " and not _has_learned(rm):", ":", "doctor/test_checks_rm.py::test_undertrained"),
    ("further steps are not looked at", SFT, "sft.further_fall > STILL_LEARNS", "False", "doctor/test_checks_sft.py::test_undertrained_by_further_steps"),
    ("further steps: the last loss counts", STEPS, "lowest = min(lowest, loss_of(held_out).item())", "lowest = loss_of(held_out).item()", "doctor/test_doctor_probes.py::test_further_steps_by_hand"),
    ("further steps uphill", STEPS, "matrix.sub_(", "matrix.add_(", "doctor/test_doctor_probes.py::test_further_steps_by_hand"),
    ("further steps by another loss than the run's", PROBES, '!= "text"', '!= "nothing"', "doctor/test_doctor_probes.py::test_the_loss_of_further_steps_is_the_run_s_own"),
    ("distance: vectors count", PROBES, "if old.dim() > 1 and name in new", "if name in new", "doctor/test_doctor_probes.py::test_how_far_weights_have_moved"),
    # stage 3
    ("KL: all of the spread lies within posts", PPO, "best = sigma**2 / 2 / (2 * beta**2)", "best = sigma**2 / (2 * beta**2)", "doctor/test_checks_ppo.py::test_kl_coefficient_too_high"),
    ("KL: 0 is a coefficient like another", PPO, "if not betas or any(betas):", "if True:", "doctor/test_checks_ppo.py::test_kl_coefficient_zero"),
    ("KL: held, though the reward rises", PPO, "no_gain(ppo) is not None and late", "late", "doctor/test_checks_ppo.py::test_a_policy_that_is_held_where_the_penalty_wants_it"),
    ("KL: held wherever the policy is", PPO, ' and late(ppo.series("policy/kl")) >= HELD * best', "", "doctor/test_checks_ppo.py::test_a_policy_that_is_held_where_the_penalty_wants_it"),
    ("reward: the divisor is forgotten", PPO, "clipped[-1] / divisor", "clipped[-1]", "doctor/test_checks_ppo.py::test_reward_scaled_flat"),
    ("reward: flat beside a penalty that is smaller still", PPO, "paid >= FLAT * raw or ", "", "doctor/test_checks_ppo.py::test_reward_clipped_flat"),
    ("sampling: top_p 1 is called bent", PPO, '"top_p": 1.0', '"top_p": 0.0', "doctor/test_checks_ppo.py::test_sampling_bent"),
    ("reference: KL not squared", PPO, '[x**2 for x in ppo.series("policy/sqrt_kl")]', 'ppo.series("policy/sqrt_kl")', "doctor/test_checks_ppo.py::test_reference_moves"),
    ("reference: blamed where nothing moved", PPO, "expected < 1e-4 or ", "", "doctor/test_checks_ppo.py::test_reference_moves"),
    ("steps: clipped tokens are not looked at", PPO, " and clipped <= MANY_CLIPPED", "", "doctor/test_checks_ppo.py::test_learning_rate_too_high"),
    ("steps: the square is not halved", PPO, "math.sqrt(2 * median(steps))", "math.sqrt(median(steps))", "doctor/test_checks_ppo.py::test_learning_rate_too_low"),
    ("values: good ones are blamed for no longer improving", PPO, " or (variance and late(variance) > 0.5)", "", "doctor/test_checks_ppo.py::test_values_do_not_fit"),
    ("samples: compared with all different, not with SFT's", PPO, "FEW_TEXTS * ppo.distinct[0]", "FEW_TEXTS", "doctor/test_checks_ppo.py::test_collapsed"),
    ("ends: the first collection is forgotten", PPO, "ENDING * rates[0]", "ENDING", "doctor/test_checks_ppo.py::test_endless"),
    ("gold: a fall within the intervals counts", PPO, 'gold[0].get("low"), gold[1].get("high")', 'gold[0].get("low"), gold[1].get("value")', "doctor/test_checks_ppo.py::test_over_optimised"),
    ("gain: one standard error will do", PPO, "gain > 2 * error", "gain > error", "doctor/test_checks_ppo.py::test_no_gain"),
    ("rate: losses of the first fifth count", RM, "too_high(losses[len(losses) // 5 :]", "too_high(losses", "doctor/test_checks_rm.py::test_the_first_fifth_of_the_losses_may_rise"),
    ("accuracy: all right is certain", FINDING, "share = min(max(share, 0.5 / count), 1 - 0.5 / count)", "share = float(share)", "doctor/test_checks_rm.py::test_the_standard_error_of_all_and_of_none"),
    ("reference: the first collection's KL counts", PPO, "max(kl[1:])", "max(kl)", "doctor/test_checks_ppo.py::test_reference_moves"),
    ("steps: of the first pass", PPO, "for row in last) for _, last in epochs", "for row in first) for first, _ in epochs", "doctor/test_checks_ppo.py::test_learning_rate_too_high"),
    ("steps: any clip range is .2", PPO, 'ppo.options.get("method.cliprange") or 0.2', "0.2", "doctor/test_checks_ppo.py::test_learning_rate_too_low"),
    ("labels: below their own words in random order", PROBES, "(better[: len(mixed)] > scorer", "(better[: len(mixed)] < scorer", "doctor/test_doctor_probes.py::test_how_many_labels_score_above_their_own_words_in_random_order"),
    ("base: asked about tokens that it does not have", PROBES, "if len(tokenizer) <= before.config.vocab_size:", "if True:", "doctor/test_doctor_probes.py::test_a_base_model_of_fewer_tokens_is_not_asked_about_them"),
    # any stage's log
    ("log: NaN is a figure", LOGS, "if math.isfinite(x)}", "}", "doctor/test_checks_log.py::test_a_figure_that_is_no_number_is_a_broken_stage"),
    ("log: a gradient's overflow in PPO counts", LOGS, '"grad_norm", "policy/gradient_norm"', '"grad_norm",', "doctor/test_checks_log.py::test_a_gradient_that_overflowed_in_fp16_is_no_fault"),
    ("log: a gradient's overflow counts", LOGS, " and name not in NORMS]", "]", "doctor/test_checks_log.py::test_a_gradient_that_overflowed_in_fp16_is_no_fault"),
    ("log: the last NaN is told", LOGS, "if bad and not_finite is None:", "if bad:", "doctor/test_checks_log.py::test_a_figure_that_is_no_number_is_a_broken_stage"),
    ("log: an empty one is a log", LOGS, "Log(not any(rows), not_finite)", "Log(not rows, not_finite)", "doctor/test_checks_log.py::test_without_a_log_there_is_no_clean_bill"),
    ("log: NaN in a record", RECORDS, ", parse_constant=lambda _: None)", ")", "doctor/test_checks_log.py::test_parts_of_a_record_that_are_no_objects_are_missing"),
    ("log: a foreign one is a traceback", EVIDENCE, '    with reading(directory, "logs of the stage in", "are they as the stage wrote them?"):\n        return', "    if True:\n        return", "doctor/test_checks_log.py::test_foreign_logs_are_one_line_and_end_no_stage"),
    ("gold: of one post", PPO, "before is None or after is None or after >= before", "after >= before", "doctor/test_checks_log.py::test_a_gold_score_of_one_post_says_nothing"),
    ("loss: 0 is doubled by anything", SFT, "max(min(lowest, point.loss), LEAST_LOSS)", "min(lowest, point.loss) or 1e-9", "doctor/test_checks_sft.py::test_learning_rate_too_high"),
    ("loss: the last third left open", FINDING, "not points[0].way <= 2 / 3 < points[-1].way", "points[0].way > 2 / 3", "doctor/test_checks_sft.py::test_late_fall"),
    # who is blamed
    ("suspects before what is broken", VERDICT, "for status in (BROKEN, SUSPECT):", "for status in (SUSPECT, BROKEN):", "doctor/test_evidence.py::test_the_first_broken_stage_is_blamed"),
    ("a stage's suspects come first", VERDICT, "finding.status != BROKEN", "finding.status == BROKEN", "doctor/test_evidence.py::test_the_first_broken_stage_is_blamed"),
    ("a torn log ends a finished stage", VERDICT, "with contextlib.suppress(UserError):", "with contextlib.suppress(KeyError):", "doctor/test_doctor_command.py::test_the_line_at_a_stage_s_end_never_ends_it"),
    # probes
    ("the doctor asks SFT in fp32", PROBES, "torch.float32 if precision == \"auto\" else dtype_for(device, precision)", "torch.float32", "doctor/test_doctor_probes.py::test_the_weights_are_asked_in_a_precision"),
    ("the doctor asks the reward model in auto", PROBES, "dtype=dtype_for(device, precision))", "dtype=dtype_for(device))", "doctor/test_doctor_probes.py::test_the_weights_are_asked_in_a_precision"),
    ("the doctor forgets the precision", "summarize_rlhf/doctor/__main__.py", "probe(run, precision) if", "probe(run, \"auto\") if", "doctor/test_doctor_command.py::test_the_precision_reaches_the_probes"),
    ("the second EOS is the first", PROBES, "logprobs[-1, ids[-1]].exp()", "logprobs[-2, ids[-1]].exp()", "doctor/test_doctor_probes.py::test_losses_behind_a_prompt"),
    ("the EOS counts as a token of the label", PROBES, "losses[:-1].mean()", "losses.mean()", "doctor/test_doctor_probes.py::test_losses_behind_a_prompt"),
    ("the shorter text is held for the longer", PROBES, "(longer[i] > 0)) for i in uneven)", "(longer[i] < 0)) for i in uneven)", "doctor/test_doctor_probes.py::test_a_reward_model_that_counts_tokens"),
    ("doctor: a directory that is not there has no stage", "summarize_rlhf/doctor/evidence.py", "        if not given.is_dir():\n", "        if False:\n", "doctor/test_evidence.py::test_no_stage_is_refused"),
]
