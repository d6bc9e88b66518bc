# ruff: noqa: E501  a table, one mutation a line
"""LoRA in stages 1 and 2, and gradient checkpointing."""

LORA = "summarize_rlhf/lm/lora.py"
RECOMPUTATION = "summarize_rlhf/lm/recomputation.py"
RM = "reward_model/train_reward_model_gptj.py"
MERGE = "trlx/merge.py"
STAGES = "lm/test_lora_stages.py"

# fmt: off
ROWS = [
    ("reward head lost", RM, "save_adapter(adapter, weights, tmp, weight=head)", "save_adapter(adapter, weights, tmp)", f"{STAGES}::test_the_reward_model_keeps_its_head_beside_the_adapter"),
    ("merged without the adapter", LORA, "    model.load_state_dict({**model.state_dict(), **state})\n", "", f"{STAGES}::test_merged_on_request_and_under_zero_3_the_same"),
    ("layers in the frozen blocks", LORA, "if id(module) in inside and isinstance", "if isinstance", f"{STAGES}::test_transposed_layers_and_layers_by_name"),
    ("each start draws another adapter", LORA, "    torch.manual_seed(seed)  # the same", "    torch.seed()  # the same", f"{STAGES}::test_under_zero_3_the_adapter_is_written_whole"),
    ("reward model without a head taken", LORA, "    if not (path / HEAD).is_file():\n", "    if False:\n", f"{STAGES}::test_an_adapter_without_its_head_is_no_reward_model"),
    ("merge keeps the adapter's hashes", MERGE, 'if key not in ("files", "base_sha256")', "", f"{STAGES}::test_base_and_adapter_compute_what_the_merged_weights_compute"),
    ("SFT never recomputes", "sft/train_gptj_summarize.py", "    if args.gradient_checkpointing:\n", "    if False:\n", "lm/test_recomputation.py::test_stages_recompute_where_they_are_asked_to"),
    ("RM never recomputes", RM, "    if args.gradient_checkpointing:\n        require", "    if False:\n        require", "lm/test_recomputation.py::test_stages_recompute_where_they_are_asked_to"),
    ("frozen blocks recompute", RECOMPUTATION, " and any(p.requires_grad for p in block.parameters())", "", "lm/test_recomputation.py::test_reward_model_over_its_frozen_trunk"),
    ("reward model's checkpointing never on", RECOMPUTATION, "        block.gradient_checkpointing = on\n", "        pass\n", "lm/test_recomputation.py::test_reward_model_over_its_frozen_trunk"),
    ("merging asked for too late is forgotten", "summarize_rlhf/run/resume_point.py", '"max_steps", "merge_adapter"}', '"max_steps"}', f"{STAGES}::test_the_same_command_says_that_it_was_finished"),
    ("adapter: weights that are no numbers", "summarize_rlhf/lm/adapters.py", "    if not all(parameter.isfinite().all() for parameter in merged.parameters()):\n", "    if False:\n", "lm/test_adapters.py::test_damaged_adapters_end_in_one_line"),
    ("adapter: its own base", "summarize_rlhf/lm/adapters.py", "    find_bottom(path)  # which", "    # which", "lm/test_adapters.py::test_damaged_adapters_end_in_one_line"),
    ("an adapter's options without an adapter", "summarize_rlhf/lm/lora.py", "        if given and self.lora_r == 0:\n", "        if False:\n", "run/test_arguments.py::test_an_adapters_options_need_its_rank"),
    ("an adapter of one's own is no model", "summarize_rlhf/lm/weights.py", "not is_complete(path) and not is_adapter(path):", "not is_complete(path):", "lm/test_found_models.py::test_an_adapter_is_ones_own_and_a_hidden_file_is_no_model"),
    ("a hidden file is a model", "summarize_rlhf/lm/weights.py", 'if not file.name.startswith(".")]', "]", "lm/test_found_models.py::test_an_adapter_is_ones_own_and_a_hidden_file_is_no_model"),
    ("the published model named beside one's own", "summarize_rlhf/lm/weights.py", "if trace is None and str(path) == hub_id and os", "if str(path) == hub_id and os", "lm/test_found_models.py::test_an_adapter_is_ones_own_and_a_hidden_file_is_no_model"),
    ("PPO: merged, the model ends elsewhere", "trlx/trainer/checkpoint.py", "    plain.generation_config = policy.causal_lm.generation_config\n", "", "ppo/test_lora_directories.py::test_lora_is_saved_as_adapter_and_merged_and_reloads_both_ways"),
    ("a stage's own check of its arguments is not made", "summarize_rlhf/run/arguments.py", '    if hasattr(parsed, "check"):\n', "    if False:\n", "run/test_arguments.py::test_an_adapters_options_need_its_rank"),
    ("PPO: a merged model belongs to a base", "trlx/trainer/checkpoint.py", '{"base_sha256": trainer.policy.base_sha256} if trainer.policy.is_adapter and not merge_adapter', '{"base_sha256": trainer.policy.base_sha256} if trainer.policy.is_adapter', "ppo/test_lora_directories.py::test_lora_is_saved_as_adapter_and_merged_and_reloads_both_ways"),
    ("a branch with the final norm for one without", "summarize_rlhf/lm/branches.py", "key = (*map(id, blocks), start, with_exit, keeps)", "key = (*map(id, blocks), start, keeps)", "lm/test_branches.py::test_the_same_blocks_with_and_without_the_final_norm"),
]
