# ruff: noqa: E501  a table, one mutation a line
"""A run kept alive: what is written out for DeepSpeed, the best model, the mean over a global batch, the sampler."""

BATCH = "summarize_rlhf/run/global_batch.py"
BEST = "summarize_rlhf/run/best_model.py"
EXPLICIT = "summarize_rlhf/run/deepspeed_defaults.py"
SETUP = "trlx/trainer/setup.py"
SFT = "sft/train_gptj_summarize.py"

# fmt: off
ROWS = [
    # clipping, and what is written out
    ("clipping left to DeepSpeed's default", SETUP, 'deepspeed["gradient_clipping"] = clip_at(train.max_grad_norm, deepspeed.get("gradient_clipping"))', 'deepspeed["gradient_clipping"] = train.max_grad_norm or 1.0', "run/test_clipping.py::test_launched_a_step_has_the_length_of_the_gradient"),
    ("the file's clipping comes first", EXPLICIT, "    if max_grad_norm is not None:\n        return max_grad_norm\n", "    if max_grad_norm is not None and in_file in (None, \"auto\"):\n        return max_grad_norm\n", "run/test_clipping.py::test_what_is_asked_for_comes_before_what_the_file_says"),
    ("gradients accumulated in bf16", EXPLICIT, 'accumulated = "fp32" if dtype == "bf16" and stage > 0 else dtype', "accumulated = dtype", "run/test_clipping.py::test_deepspeed_finds_each_option_written_out"),
    # the best model
    ("highest loss kept", BEST, 'loss >= self.found["eval_loss"]', 'loss <= self.found["eval_loss"]', "run/test_best_model.py::test_the_lowest_loss_is_kept_and_of_equal_ones_the_first"),
    ("of equal losses the last", BEST, 'loss >= self.found["eval_loss"]', 'loss > self.found["eval_loss"]', "run/test_best_model.py::test_the_lowest_loss_is_kept_and_of_equal_ones_the_first"),
    # the mean over a global batch
    ("mean of micro-batch means", BATCH, "self.count(inputs) if num_items_in_batch is None else num_items_in_batch / self.args.world_size", "self.count(inputs) * (self.current_gradient_accumulation_steps if self.model.training else 1)", "run/test_global_batch.py::test_weights_and_log_are_those_of_a_plain_loop_over_global_batches"),
    ("stand-in row is trained on", BATCH, 'float(bool(rows))}', '1.0}', "run/test_global_batch.py::test_weights_and_log_are_those_of_a_plain_loop_over_global_batches"),
    ("leftover rows dropped", BATCH, "math.ceil(len(self.order) / (self.size * self.processes))", "len(self.order) // (self.size * self.processes)", "run/test_global_batch.py::test_micro_batches_hold_each_row_once_and_are_as_many_everywhere"),
    # hand-over
    ("evaluations that choose the model may change", SFT, "return args.keep == \"last\"", "return True", "run/test_may_change.py::test_evaluations_may_change_only_where_they_do_not_choose_the_model"),
]
