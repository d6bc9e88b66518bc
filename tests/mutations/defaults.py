# ruff: noqa: E501  a table, one mutation a line
"""The published defaults, what is written out for DeepSpeed, the best model, and the mean over a global batch."""

BATCH = "summarize_rlhf/run/global_batch.py"
BEST = "summarize_rlhf/run/best_model.py"
EXPLICIT = "summarize_rlhf/run/deepspeed_defaults.py"
LAUNCH = "summarize_rlhf/run/deepspeed_config.py"
RM = "reward_model/train_reward_model_gptj.py"
SETUP = "trlx/trainer/setup.py"
SFT = "sft/train_gptj_summarize.py"
STAGE3 = "trlx_gptj_text_summarization.py"
PINNED = "test_published_defaults.py::test_every_default_is_the_published_one_or_ours_for_a_reason"
FILES = "test_published_defaults.py::test_the_files_of_deepspeed_and_accelerate_say_what_was_published"

# fmt: off
ROWS = [
    # defaults
    ("SFT: schedule falls to 0 by default", SFT, 'lr_scheduler_type: str = knob("constant_with_warmup"', 'lr_scheduler_type: str = knob("linear"', PINNED),
    ("SFT: beta2 of stage 2", SFT, "adam_beta2: float = knob(0.95,", "adam_beta2: float = knob(0.999,", PINNED),
    ("SFT: the last model by default", SFT, 'keep: str = knob("best"', 'keep: str = knob("last"', PINNED),
    ("SFT: clips by default", SFT, "max_grad_norm: float | None = knob(None,", "max_grad_norm: float | None = knob(1.0,", PINNED),
    ("SFT: no warm-up by default", SFT, "warmup_steps: int = knob(100,", "warmup_steps: int = knob(0,", PINNED),
    ("RM: beta2 of stage 1", RM, "adam_beta2: float = knob(0.999,", "adam_beta2: float = knob(0.95,", PINNED),
    ("RM: half of the blocks by default", RM, "trainable_fraction: float = knob(0.3,", "trainable_fraction: float = knob(0.5,", PINNED),
    ("RM: the paper's loss by default", RM, '        "pairwise", "all tokens', '        "last_token", "all tokens', PINNED),
    ("PPO: lam 1 by default", STAGE3, "        lam=0.95,\n", "        lam=1.0,\n", PINNED),
    ("PPO: gamma below 1 by default", STAGE3, "        gamma=1,\n", "        gamma=0.99,\n", PINNED),
    ("PPO: value loss weighs 1 by default", STAGE3, "        vf_coef=0.2,\n", "        vf_coef=1.0,\n", PINNED),
    ("PPO: another first KL coefficient", STAGE3, "        init_kl_coef=0.1,\n", "        init_kl_coef=0.05,\n", PINNED),
    ("PPO: fixed KL coefficient by default", STAGE3, "        target=6,\n", "        target=None,\n", PINNED),
    ("PPO: no weight decay by default", STAGE3, '"weight_decay": 0.01', '"weight_decay": 0.0', PINNED),
    ("PPO: cosine to another floor", STAGE3, '"eta_min": 5e-6', '"eta_min": 0.0', PINNED),
    ("PPO: accumulation of the published file", "configs/ds_config_trlx_gptj_summarize.json", '"gradient_accumulation_steps": 4', '"gradient_accumulation_steps": 1', FILES),
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
]
