# ruff: noqa: E501  a table, one mutation a line
"""Stage 1, supervised fine-tuning."""

ARGUMENTS = "summarize_rlhf/run/trainer_arguments.py"
DATASET = "sft/summarize_dataset.py"
LOSS = "sft/loss.py"
STAGE = "sft/train_gptj_summarize.py"

# fmt: off
ROWS = [
    # the loss over the vocabulary and torch's own
    ("SFT: a loss that is not torch's", LOSS, 'cross_entropy(logits.float(), targets, reduction="none")', 'cross_entropy(logits.float(), targets, reduction="none", label_smoothing=0.01)', "sft/test_linear_cross_entropy.py::test_loss_and_gradients_agree"),
    ("benchmark of the head: no bias", "benchmarks/bench_head.py", "linear_bias=head.bias", "linear_bias=None", "sft/test_linear_cross_entropy.py::test_loss_and_gradients_agree"),
    # options on their way to the optimizer
    ("SFT: learning_rate ignored", ARGUMENTS, "        learning_rate=args.learning_rate,\n", "", "sft/test_formulas_sft.py::test_weights_are_those_of_adamw"),
    ("SFT: adam_beta1 ignored", ARGUMENTS, "        adam_beta1=args.adam_beta1,\n", "", "sft/test_formulas_sft.py::test_weights_are_those_of_adamw"),
    ("SFT: adam_beta2 ignored", ARGUMENTS, "        adam_beta2=args.adam_beta2,\n", "", "sft/test_formulas_sft.py::test_weights_are_those_of_adamw"),
    ("SFT: adam_epsilon ignored", ARGUMENTS, "        adam_epsilon=args.adam_epsilon,\n", "", "sft/test_formulas_sft.py::test_weights_are_those_of_adamw"),
    ("SFT: weight_decay ignored", ARGUMENTS, "        weight_decay=args.weight_decay,\n", "", "sft/test_formulas_sft.py::test_weights_are_those_of_adamw"),
    ("SFT: warmup_steps ignored", ARGUMENTS, "        warmup_steps=args.warmup_steps,\n", "", "sft/test_formulas_sft.py::test_rate_of_each_step"),
    ("SFT: lr_scheduler_type ignored", ARGUMENTS, "        lr_scheduler_type=args.lr_scheduler_type,\n", "", "sft/test_formulas_sft.py::test_rate_of_each_step"),
    ("SFT: max_steps ignored", ARGUMENTS, "        max_steps=args.max_steps,\n", "", "sft/test_formulas_sft.py::test_rate_of_each_step"),
    # rows and batches
    ("SFT: order by another seed", STAGE, "args.global_batch_size, args.seed)", "args.global_batch_size, 42)", "sft/test_formulas_sft.py::test_weights_are_those_of_adamw"),
    ("SFT: rows grouped by the device's batch", STAGE, "LengthGroupedSampler(encoded[\"train\"].lengths, args.global_batch_size", "LengthGroupedSampler(encoded[\"train\"].lengths, args.per_device_train_batch_size", "sft/test_formulas_sft.py::test_weights_are_those_of_adamw"),
    ("SFT: row one token over the limit", DATASET, "len(tokens) >= max_length:", "len(tokens) > max_length:", "sft/test_formulas_sft.py::test_a_row_of_exactly_the_limit_is_whole"),
    ("SFT: post cut one token short", DATASET, "cut_post(tokenizer, body, max_length - 1,", "cut_post(tokenizer, body, max_length - 2,", "sft/test_formulas_sft.py::test_a_row_of_exactly_the_limit_is_whole"),
    ("SFT: summary begins one token early", DATASET, "if end > border", "if end >= border", "sft/test_summarize_dataset.py::test_on_the_summary_alone_its_first_token_and_the_eos_are_supervised"),
    ("SFT: padding labelled as EOS", DATASET, "stack(\"labels\", IGNORED)", "stack(\"labels\", self.pad_token_id)", "sft/test_summarize_dataset.py::test_padding_is_masked_by_length_though_pad_is_eos"),
    ("SFT: loss of the summary alone ignored", STAGE, "args.max_length, args.loss_on, f", "args.max_length, \"text\", f", "sft/test_formulas_sft.py::test_loss_on_the_summary_alone"),
    # loss and modes
    ("SFT: eval loss a mean of rows' means", LOSS, "loss = float(sums.sum() / counts.sum())", "loss = float((sums / counts).mean())", "sft/test_formulas_sft.py::test_loss_of_valid_is_the_mean_over_all_its_tokens"),
    ("SFT: perplexity is no exponential", LOSS, "math.exp(min(loss, 50.0))", "min(loss, 50.0)", "sft/test_formulas_sft.py::test_loss_of_valid_is_the_mean_over_all_its_tokens"),
    ("SFT: valid's loss over train", STAGE, "eval_dataset=encoded[\"valid\"]", "eval_dataset=encoded[\"train\"]", "sft/test_formulas_sft.py::test_loss_of_valid_is_the_mean_over_all_its_tokens"),
    ("SFT: loss divided by its own tokens", LOSS, "counts.sum() if num_items_in_batch is None else num_items_in_batch", "counts.sum()", "sft/test_sft_loss.py::test_accumulation_changes_no_gradient"),
    ("SFT: checkpointing never on", STAGE, "if args.gradient_checkpointing:", "if False:", "sft/test_formulas_sft.py::test_model_trains_in_training_mode_and_is_evaluated_without_dropout"),
    ("SFT: trains in evaluation mode", LOSS, "        states = self.decoder.run_backbone(keep_from, input_ids=input_ids)  # (B, T, H)", "        self.model.eval()\n        states = self.decoder.run_backbone(keep_from, input_ids=input_ids)  # (B, T, H)", "sft/test_formulas_sft.py::test_model_trains_in_training_mode_and_is_evaluated_without_dropout"),
    # summaries at the end
    ("SFT: summaries' prompts have the room of the text", STAGE, "rows[\"prompt\"], args.max_length - args.max_new_tokens, places(rows))", "rows[\"prompt\"], args.max_length, places(rows))", "sft/test_formulas_sft.py::test_summaries_leave_room_for_themselves"),
    ("SFT: ROUGE of the labels", STAGE, "rouge(written, labels) | {", "rouge(labels, labels) | {", "sft/test_formulas_sft.py::test_summaries_leave_room_for_themselves"),
]
