# ruff: noqa: E501  a table, one mutation a line
"""A run kept alive: what is written out for DeepSpeed, the best model, the mean over a global batch, the sampler."""

KEPT = "summarize_rlhf/run/kept.py"
CACHED = "summarize_rlhf/run/cached_rows.py"
JSON_LINES = "summarize_rlhf/run/json_lines.py"
RUN_DIRECTORY = "summarize_rlhf/run/run_directory.py"
CHECKPOINTS = "summarize_rlhf/run/checkpoints.py"
BATCH = "summarize_rlhf/run/global_batch.py"
LAUNCH = "summarize_rlhf/run/launch.py"
BEST = "summarize_rlhf/run/best_model.py"
EXPLICIT = "summarize_rlhf/run/deepspeed_defaults.py"
SETUP = "trlx/trainer/setup.py"
TRACKERS = "summarize_rlhf/run/trackers.py"
MEMORY = "summarize_rlhf/run/peak_memory.py"
SFT = "sft/train_gptj_summarize.py"

# fmt: off
ROWS = [
    # peak memory
    ("memory: that of process 0 alone", MEMORY, "gather_object([own]) if PartialState().num_processes > 1 else [own]", "[own]", "run/test_peak_memory.py::test_the_most_of_any_process"),
    ("memory: the least of all processes", MEMORY, "max(one[name] for one in everyone)", "min(one[name] for one in everyone)", "run/test_peak_memory.py::test_the_most_of_any_process"),
    ("memory: KiB taken for bytes", MEMORY, 'else 1e9 / 1024)', 'else 1e9)', "run/test_peak_memory.py::test_what_was_given_back_counts"),
    ("memory: the parent's counts", MEMORY, "if STATUS.is_file() else None", "if False else None", "run/test_peak_memory.py::test_the_most_of_any_process"),
    ("memory: GPUs added up", MEMORY, "round(max(torch", "round(sum(torch", "run/test_peak_memory.py::test_the_fullest_gpu"),
    ("SFT: peak memory not logged", SFT, "    trainer.log(peak_memory())\n", "", "sft/test_train_sft.py::test_it_learns_and_reports_every_number"),
    ("RM: peak memory not logged", "reward_model/train_reward_model_gptj.py", "    trainer.log(peak_memory())\n", "", "reward_model/test_train_reward_model.py::test_the_record_says_what_was_done"),
    ("PPO: peak memory not logged", "trlx/trainer/accelerate_base_trainer.py", "results | peak_memory()", "results", "ppo/test_ppo_checkpoints.py::test_every_metric_is_documented"),
    # disk space
    ("needs of a disk do not add up", "summarize_rlhf/run/disk_space.py", "sum(need.bytes for need, _ in same)", "max(need.bytes for need, _ in same)", "run/test_disk_space.py::test_needs_of_one_disk_add_up"),
    ("disks are one", "summarize_rlhf/run/disk_space.py", "by_device.setdefault(device_of(there), [])", "by_device.setdefault(0, [])", "run/test_disk_space.py::test_two_disks_are_counted_apart"),
    ("optimizer not counted", "summarize_rlhf/run/disk_space.py", "    checkpoint = FP32 * total + ADAM * trained\n", "    checkpoint = FP32 * total\n", "run/test_disk_space.py::test_by_hand"),
    ("numbers that nothing can count", "summarize_rlhf/run/values.py", "    if abs(value) > LARGEST:\n", "    if False:\n", "run/test_arguments.py::test_numbers_that_nothing_can_count"),
    ("empty texts", "summarize_rlhf/run/values.py", "    if not value.strip():\n", "    if False:\n", "run/test_arguments.py::test_texts_that_can_name_nothing"),
    ("an infinite size ends in a traceback", CHECKPOINTS, "(OSError, ValueError, ArithmeticError, ", "(OSError, ValueError, ", "run/test_checkpoints.py::test_a_damaged_marker_is_no_marker"),
    ("a list of none is asked to be one value", "summarize_rlhf/run/arguments.py", '"a list of one value or more" if name in lists else', '"a list of one value or more" if False else', "run/test_arguments.py::test_several_values_of_one_argument"),
    # the launch
    ("launch half set taken", LAUNCH, "    if missing:\n", "    if False:\n", "run/test_launch.py::test_an_environment_of_no_launch_is_refused"),
    ("WORLD_SIZE of another launch taken", LAUNCH, " or environment.get(\"WORLD_SIZE\", \"\") not in (\"\", \"1\")", "", "run/test_launch.py::test_an_environment_of_no_launch_is_refused"),
    ("accelerate starts one process for two", LAUNCH, "if asked and not any(", "if False and not any(", "run/test_launch.py::test_accelerate_that_starts_one_process_for_two_is_told"),
    ("a script does not check its launch", "summarize_rlhf/run/errors.py", "            check_environment()\n", "", "run/test_launch.py::test_every_script_checks_it_first"),
    ("the interpreter is taken apart under gloo's threads", "summarize_rlhf/run/errors.py", "        if torch.distributed.is_initialized():\n            end_process(code)\n", "", "run/test_ending.py::test_it_ends_by_its_own_exit_code"),
    ("a process ends without its exit handlers", "summarize_rlhf/run/ending.py", "    atexit._run_exitfuncs()\n", "", "run/test_ending.py::test_it_ends_by_its_own_exit_code"),
    ("a process ends before its words are out", "summarize_rlhf/run/ending.py", "            stream.flush()\n", "            pass\n", "run/test_ending.py::test_it_ends_by_its_own_exit_code"),
    ("an exit's words count as success", "summarize_rlhf/run/ending.py", "os._exit(1 if isinstance(code, str) else", "os._exit(0 if isinstance(code, str) else", "run/test_ending.py::test_it_ends_by_its_own_exit_code"),
    # what lies beside a checkpoint
    ("kept file's hash unchecked", KEPT, "elif sha256_of(file) != record[\"sha256\"]:", "elif False:", "run/test_kept.py::test_what_is_wrong_is_told_and_not_used"),
    ("kept file of another origin", KEPT, "elif record[\"made_from\"] != json.loads(json.dumps(made_from)):", "elif False:", "run/test_kept.py::test_what_is_wrong_is_told_and_not_used"),
    ("kept value's hash unchecked", KEPT, "        if hashlib.sha256(text.encode()).hexdigest() == record[\"sha256\"]:\n", "        if text:\n", "run/test_kept.py::test_what_is_wrong_is_told_and_not_used"),
    ("unfinished file counts as kept", KEPT, "    write_value(file, {\"unfinished\": True})\n", "", "run/test_kept.py::test_what_is_wrong_is_told_and_not_used"),
    ("token cache unchecked", CACHED, "(not fresh and kept.is_usable(file, key))", "not fresh", "run/test_kept.py::test_tokenized_rows_that_are_damaged_are_made_again"),
    ("--fresh takes the token cache", CACHED, "(not fresh and kept.is_usable(file, key))", "kept.is_usable(file, key)", "run/test_kept.py::test_tokenized_rows_that_are_damaged_are_made_again"),
    ("two runs write one cache at once", CACHED, "disk_errors(file), locked(file, first):", "disk_errors(file):", "run/test_kept.py::test_two_runs_at_once_make_the_rows_once"),
    ("machines write one cache at once", CACHED, "state.main_process_first(), ", "", "run/test_configs.py::test_slurm_starts_a_stage_on_two_machines"),
    ("log's hash unchecked", JSON_LINES, "if hashlib.sha256(known).hexdigest() != state[\"sha256\"]:", "if len(known) != state[\"bytes\"]:", "run/test_json_lines.py::test_a_damaged_log_is_told_and_what_remains_is_json"),
    ("log keeps half lines", JSON_LINES, " if _is_object(line)]", "]", "run/test_json_lines.py::test_a_damaged_log_is_told_and_what_remains_is_json"),
    ("log not cut back", JSON_LINES, "known = content[: state[\"bytes\"]]", "known = content", "run/test_json_lines.py::test_later_lines_are_cut_without_a_word"),
    ("no lock", RUN_DIRECTORY, "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass", "run/test_run_directory.py::test_a_second_run_is_refused_and_told_of_the_holder_until_that_dies"),
    ("user's folder taken for a run's", RUN_DIRECTORY, "if not (path / MARKER).is_file() and not any(", "if False and not any(", "run/test_run_directory.py::test_files_that_no_run_wrote_are_never_in_danger"),
    ("another stage's folder taken", RUN_DIRECTORY, "    if found != stage:\n", "    if False:\n", "run/test_run_directory.py::test_another_stages_directory_is_refused"),
    ("empty run directories stay", RUN_DIRECTORY, "                path.rmdir()\n", "", "run/test_run_directory.py::test_a_run_that_wrote_nothing_leaves_nothing"),
    ("somebody's checkpoint-500 removed", CHECKPOINTS, "    if (path / MANIFEST).is_file():\n        shutil.rmtree(path)", "    if path.exists():\n        shutil.rmtree(path)", "run/test_checkpoints.py::test_folders_of_somebody_else_are_never_removed"),
    ("Debian's enumerations are refused", CHECKPOINTS, "*((_member, name) for name in GETATTR)", "", "run/test_tensors_only.py::test_an_enumeration_is_read_as_any_python_wrote_it_and_no_other_attribute"),
    ("any attribute may be asked for", CHECKPOINTS, "(_member, name) for", "(getattr, name) for", "run/test_tensors_only.py::test_an_enumeration_is_read_as_any_python_wrote_it_and_no_other_attribute"),
    # clipping, and what is written out
    ("clipping left to DeepSpeed's default", SETUP, 'deepspeed["gradient_clipping"] = clip_at(train.max_grad_norm, deepspeed.get("gradient_clipping"))', 'deepspeed["gradient_clipping"] = train.max_grad_norm or 1.0', "run/test_clipping.py::test_launched_a_step_has_the_length_of_the_gradient"),
    ("the file's clipping comes first", EXPLICIT, "    if max_grad_norm is not None:\n        return max_grad_norm\n", "    if max_grad_norm is not None and in_file in (None, \"auto\"):\n        return max_grad_norm\n", "run/test_clipping.py::test_what_is_asked_for_comes_before_what_the_file_says"),
    ("buckets as published, whatever the model", "summarize_rlhf/run/deepspeed_config.py", "zero[name] = min(zero[name], max(size, 1))", "pass", "run/test_buckets.py::test_by_hand"),
    ("buckets as large as the model", "summarize_rlhf/run/deepspeed_config.py", "size_of(p) for p in model.parameters() if p.requires_grad)", "size_of(p) for p in model.parameters())", "run/test_buckets.py::test_by_hand"),
    ("stages 1 and 2 leave the buckets", "summarize_rlhf/run/resumable_trainer.py", "            fit_buckets(self", "            (self", "run/test_buckets.py::test_a_stage_allocates_what_it_trains"),
    ("PPO leaves the buckets", "trlx/trainer/accelerate_base_trainer.py", "            fit_buckets(self", "            (self", "run/test_buckets.py::test_a_stage_allocates_what_it_trains"),
    ("buckets of what this process holds", "summarize_rlhf/run/deepspeed_config.py", 'getattr(parameter, "ds_numel", parameter.numel())', "parameter.numel()", "run/test_buckets.py::test_what_zero_3_keeps_in_other_processes_counts"),
    ("buckets where there is no DeepSpeed", "summarize_rlhf/run/resumable_trainer.py", "        if self.is_deepspeed_enabled:\n            fit", "        if True:\n            fit", "ppo/test_ppo_wandb.py::test_two_trainings_of_a_stage_are_two_runs_and_one_that_goes_on_is_its_own"),
    ("the memory check spreads weights under ZeRO-3", "summarize_rlhf/lm/memory_check.py", "MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config)", '__import__("transformers").AutoModelForCausalLM.from_config(config)', "run/test_zero3.py::test_weights_metrics_and_samples_are_those_of_zero_2"),
    ("a container's limit is not looked at", "summarize_rlhf/run/main_memory.py", "min([int(kib) * 1024, *limits_left(root)])", "int(kib) * 1024", "run/test_main_memory.py::test_a_limit_leaves_what_is_not_used_and_the_files_that_nobody_reads"),
    ("limits further up are not looked at", "summarize_rlhf/run/main_memory.py", "[folder, *folder.parents]", "[folder]", "run/test_main_memory.py::test_a_limit_leaves_what_is_not_used_and_the_files_that_nobody_reads"),
    ("limits of version 1 are not looked at", "summarize_rlhf/run/main_memory.py", 'if controllers not in ("", "memory")', 'if controllers != ""', "run/test_main_memory.py::test_a_limit_of_the_first_version"),
    ("gradients accumulated in bf16", EXPLICIT, 'accumulated = "fp32" if dtype == "bf16" and stage > 0 else dtype', "accumulated = dtype", "run/test_clipping.py::test_deepspeed_finds_each_option_written_out"),
    # the best model
    ("highest loss kept", BEST, 'loss >= self.found["eval_loss"]', 'loss <= self.found["eval_loss"]', "run/test_best_model.py::test_the_lowest_loss_is_kept_and_of_equal_ones_the_first"),
    ("of equal losses the last", BEST, 'loss >= self.found["eval_loss"]', 'loss > self.found["eval_loss"]', "run/test_best_model.py::test_the_lowest_loss_is_kept_and_of_equal_ones_the_first"),
    # the mean over a global batch
    ("mean of micro-batch means", BATCH, "self.count(inputs) if num_items_in_batch is None else num_items_in_batch / self.args.world_size", "self.count(inputs) * (self.current_gradient_accumulation_steps if self.model.training else 1)", "run/test_global_batch.py::test_weights_and_log_are_those_of_a_plain_loop_over_global_batches"),
    ("stand-in row is trained on", BATCH, 'float(bool(rows))}', '1.0}', "run/test_global_batch.py::test_weights_and_log_are_those_of_a_plain_loop_over_global_batches"),
    ("leftover rows dropped", BATCH, "math.ceil(len(self.order) / (self.size * self.processes))", "len(self.order) // (self.size * self.processes)", "run/test_global_batch.py::test_micro_batches_hold_each_row_once_and_are_as_many_everywhere"),
    # trackers
    ("trackio missing is not told", TRACKERS, "find_spec(\"trackio\") is None", "find_spec(\"trackio\") is False", "run/test_trackers.py::test_a_tracker_that_is_not_installed_is_one_line"),
    ("stages of a run apart at the tracker", TRACKERS, "return (record or {}).get(\"run_name\") or", "return", "run/test_trackers.py::test_the_stages_of_a_run_share_its_name"),
    ("TensorBoard's table takes HTML", TRACKERS, ".replace(\"<\", \"&lt;\")", "", "run/test_trackers.py::test_samples_are_a_table_at_tensorboard"),
    ("PPO apart at the tracker", SETUP, "train.group_name or group_of(config.model.model_path)", "train.group_name", "ppo/test_trlx_surface.py::test_a_run_joins_the_group_of_the_stage_that_wrote_its_model"),
    # hand-over
    ("evaluations that choose the model may change", SFT, "return args.keep == \"last\"", "return True", "run/test_may_change.py::test_evaluations_may_change_only_where_they_do_not_choose_the_model"),
]
