# ruff: noqa: E501  a table, one mutation a line
"""A run that goes on with another number of processes."""

TRAINER = "summarize_rlhf/run/resumable_trainer.py"
SHARED = "summarize_rlhf/run/elastic.py"
PPO = "trlx/trainer/elastic.py"
STAGES = "run/test_elastic.py::test_it_goes_on_as_the_undisturbed_run"
ZERO3 = "run/test_elastic.py::test_so_it_does_under_zero_3"
PPO_RUN = "ppo/test_ppo_elastic.py::test_it_goes_on_as_the_undisturbed_run"

# fmt: off
ROWS = [
    ("elastic: asked for or not", "summarize_rlhf/run/resume_point.py", 'if args.elastic else set()', 'if args else set()', "run/test_elastic.py::test_unasked_it_is_refused_and_the_flag_is_named"),
    ("elastic: the flag is ignored", "summarize_rlhf/run/resume_point.py", 'if args.elastic else set()', 'if not args else set()', STAGES),
    ("elastic: the remedy is not named", "summarize_rlhf/run/checkpoints.py", "{elastic if 'processes' in names else ''}", "", "run/test_elastic.py::test_unasked_it_is_refused_and_the_flag_is_named"),
    ("elastic: moments dropped", SHARED, "        _mend(engine.optimizer.optimizer, found)\n", "        _mend(engine.optimizer.optimizer, found)\n        for state in engine.optimizer.optimizer.state.values():\n            state['exp_avg'].zero_()\n", STAGES),
    ("elastic: the first group's options for all", SHARED, "        group.update({name: value for name, value in options.items() if name != \"params\"})\n", "        pass\n", ZERO3),
    ("elastic: one step for all states", SHARED, "        if torch.is_tensor(state.get(\"step\")):\n", "        if not state:\n", ZERO3),
    ("elastic: the schedule starts over", TRAINER, "            self._load_optimizer_and_scheduler(resume_from_checkpoint)  # the schedule alone: the engine has the rest\n", "", STAGES),
    ("elastic: loss since the last line of one process", TRAINER, 'sum(each["_tr_loss"] for each in everyone) / len(everyone)', 'sum(each["_tr_loss"] for each in everyone)', STAGES),
    ("elastic: any optimizer", SHARED, '    if "betas" not in engine', '    if "lr" not in engine', "run/test_elastic.py::test_another_optimizer_than_adam_is_refused_under_zero"),
    ("elastic: random numbers go on", TRAINER, "        if self.is_elastic:\n            elastic.reseed", "        if False:\n            elastic.reseed", "run/test_elastic.py::test_random_numbers_are_drawn_anew_for_each_step_and_process"),
    ("elastic: alike on all processes", TRAINER, "self.state.global_step, self.args.process_index)", "self.state.global_step)", "run/test_elastic.py::test_random_numbers_are_drawn_anew_for_each_step_and_process"),
    ("elastic: the copy is left behind", SHARED, "            shutil.rmtree(scratch, ignore_errors=True)\n", "            pass\n", "run/test_elastic.py::test_the_copy_is_gone_once_it_has_been_read"),
    ("elastic: the copy of a killed process is in the way", SHARED, "    shutil.rmtree(target.parent, ignore_errors=True)  # of a process that was killed\n", "", "run/test_elastic.py::test_killed_while_it_reads_it_goes_on_all_the_same"),
    ("PPO elastic: asked for or not", PPO, "if config.train.elastic else", "if config else", "ppo/test_ppo_elastic.py::test_what_would_be_another_run_is_refused"),
    ("PPO elastic: another global batch", PPO, "    if processes * size == together:\n", "    if together:\n", "ppo/test_ppo_elastic.py::test_what_would_be_another_run_is_refused"),
    ("PPO elastic: another kind of launch", PPO, "    if under_deepspeed != (state / \"pytorch_model\").is_dir():\n", "    if not state.is_dir():\n", "ppo/test_ppo_elastic.py::test_what_would_be_another_run_is_refused"),
    ("PPO elastic: moments dropped", PPO, "            load_custom_state(progress, str(state))\n", "            load_custom_state(progress, str(state))\n            for each in trainer.model.optimizer.optimizer.state.values():\n                each['exp_avg_sq'].zero_()\n", "ppo/test_ppo_elastic.py::test_weights_and_moments_are_carried_over_to_the_bit"),
    ("PPO elastic: progress dropped", PPO, "            load_custom_state(progress, str(state))\n", "", PPO_RUN),
    ("PPO: micro-batches counted on", "trlx/trainer/checkpoint.py", "    trainer.accelerator.step = 0 ", "    trainer.accelerator.step += 0 ", "ppo/test_ppo_resume.py::test_updates_in_other_micro_batches_stay_the_same"),
    ("PPO elastic: rollouts of one process", PPO, "for other in range(wrote)]", "for other in range(min(wrote, 1))]", "ppo/test_ppo_elastic.py::test_rollouts_in_use_are_shared_out_as_if_they_were_collected_so"),
    ("PPO elastic: all rollouts on each process", PPO, "shared_rows(len(everyone), processes, rank)", "range(len(everyone))", "ppo/test_ppo_elastic.py::test_rollouts_in_use_are_shared_out_as_if_they_were_collected_so"),
    ("PPO elastic: weights dropped", PPO, "            accelerator.load_state(str(state))\n", "            load_custom_state(progress, str(state))\n", "ppo/test_ppo_elastic.py::test_cut_within_an_epoch_it_stays_within_the_spread_of_the_seeds"),
]
