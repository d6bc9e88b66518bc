# ruff: noqa: E501  a table, one mutation a line
"""PPO's trainer: collecting, optimising, evaluating, going on."""

ARGUMENTS = "trlx/data/arguments.py"
BASE = "trlx/trainer/accelerate_base_trainer.py"
CHECKPOINT = "trlx/trainer/checkpoint.py"
EVALUATION = "trlx/trainer/evaluation.py"
GENERATION_MODULE = "summarize_rlhf/lm/generation.py"
HARDWARE = "summarize_rlhf/run/trackers.py"
OPTIMIZERS = "trlx/utils/optimizers.py"
PPO = "trlx/trainer/ppo.py"
EXPERIENCE = "trlx/trainer/experience.py"
SCORING = "trlx/trainer/rewards.py"
SETUP = "trlx/trainer/setup.py"

# fmt: off
ROWS = [
    ("an earlier override is lost", "trlx/data/configs.py", "            merged = _merged(merged, value)\n", "            merged = _merged(baseconfig if isinstance(baseconfig, dict) else baseconfig.to_dict(), value)\n", "ppo/test_configuration.py::test_a_later_override_stands_over_an_earlier_one"),
    # a reward function that ends in a way of its own
    ("a reward that is yielded raises late", "trlx/trainer/rewards.py", "list(answer) if isinstance(answer, Iterator) else answer", "answer", "ppo/test_reward_faults.py::test_a_checkpoint_then_the_sample_then_the_end"),
    ("a reward that exits ends the run", "trlx/trainer/rewards.py", "    except (Exception, SystemExit) as error:\n", "    except Exception as error:\n", "ppo/test_reward_faults.py::test_a_checkpoint_then_the_sample_then_the_end"),
    ("the timer is left running", "trlx/trainer/deadline.py", "        signal.setitimer(signal.ITIMER_REAL, 0)\n", "", "ppo/test_reward_faults.py::test_the_timer_is_put_back"),
    ("random numbers unchecked", CHECKPOINT, "        check_random_states(state)\n", "", "ppo/test_beside_checkpoints.py::test_random_numbers_that_cannot_be_read_are_refused_not_skipped"),
    ("best policy unchecked at the end", PPO, "        check_best(self)\n", "", "ppo/test_beside_checkpoints.py::test_a_best_policy_that_is_not_what_was_written_ends_the_run_with_an_error"),
    ("best policy stays under its old name", CHECKPOINT, "        recover_directory(Path(trainer.config.train.checkpoint_dir) / BEST)\n", "        pass\n", "ppo/test_beside_checkpoints.py::test_a_best_policy_under_its_old_name_gets_its_own_back"),
    # trainer
    ("accumulation summed instead of averaged", PPO, "/ (len(micro_batches) * self.accelerator.num_processes)", "/ (len(micro_batches) ** 2 * self.accelerator.num_processes)", "ppo/test_update.py::test_update_is_the_same_under_any_split"),
    ("mean per micro-batch", PPO, "*old, batch.mask, n)", "*old, batch.mask)", "ppo/test_update.py::test_update_is_the_same_under_any_split"),
    ("stand-in is trained", PPO, "mask=torch.zeros_like(batch.mask)", "mask=batch.mask", "ppo/test_update.py::test_update_is_the_same_under_any_split"),
    ("statistics averaged over micro-batches", PPO, "share = batch.mask.sum() / n", "share = 1.0", "ppo/test_update.py::test_update_is_the_same_under_any_split"),
    ("rollouts at another temperature than training", PPO, "*ids, temperature, trunk=", "*ids, 2.0, trunk=", "ppo/test_update.py::test_ratio_is_one_on_the_first_minibatch"),
    ("zero spread divides", EXPERIENCE, ".get(method.scale_reward) or 1.0", ".get(method.scale_reward, 1.0)", "ppo/test_reward_functions.py::test_scores_without_spread_are_left_alone"),
    ("evaluation draws from training's numbers", EVALUATION, "with torch.random.fork_rng(devices), ", "with ", "ppo/test_evaluation.py::test_evaluation_leaves_training_as_it_is"),
    ("worst policy kept", BASE, "reward > self.best_reward", "reward < -self.best_reward", "ppo/test_ppo_checkpoints.py::test_best_checkpoint_is_the_best_evaluated"),
    ("NaN rewards accepted", SCORING, "if not torch.isfinite(row).all():", "if False:", "ppo/test_reward_functions.py::test_bad_rewards_are_refused_by_name"),
    ("resume forgets the prompts' order", CHECKPOINT, '        t.cursor.load_state_dict(state["cursor"])\n', "", "ppo/test_ppo_checkpoints.py::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the KL coefficient", CHECKPOINT, '        t.kl_controller.value = state["kl_coef"]\n', "", "ppo/test_ppo_checkpoints.py::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the moments", CHECKPOINT, '        t.moments.load_state_dict(state["moments"])\n', "", "ppo/test_ppo_checkpoints.py::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the schedule", CHECKPOINT, '        t.scheduler.load_state_dict(state["scheduler"])\n', "", "ppo/test_ppo_checkpoints.py::test_resumed_run_is_the_uninterrupted_one"),
    ("resume runs finished collections again", CHECKPOINT, '("step", "iteration", ', '("step", ', "ppo/test_ppo_checkpoints.py::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the best reward", CHECKPOINT, '"best_reward", ', "", "ppo/test_ppo_checkpoints.py::test_resumed_run_is_the_uninterrupted_one"),
    ("KL coefficient never updated", PPO, "self.kl_controller.update(self.collection.kl, self.method.num_rollouts)", "pass", "ppo/test_reward_functions.py::test_adaptive_kl_moves_once_a_collection"),
    # scaled scores, arguments
    ("one text taken for a list of letters", ARGUMENTS, "isinstance(prompts, str | bytes |", "isinstance(prompts, bytes |", "ppo/test_train_arguments.py::test_prompts_are_refused_by_name"),
    ("empty stop sequence let through", ARGUMENTS, "if not all(stops):", "if False:", "ppo/test_train_arguments.py::test_other_arguments_are_refused_by_name"),
    ("divided before clipped", EXPERIENCE, "scaled = [row / spread for row in clipped]", "scaled = [(row / spread).clamp(-bound, bound) for row in scores]", "ppo/test_reward_scaling.py::test_scores_are_clipped_then_divided_as_published"),
    ("moments of the scores as they came", EXPERIENCE, "moments.update(clipped_totals)", "moments.update(totals)", "ppo/test_reward_scaling.py::test_scores_are_clipped_then_divided_as_published"),
    ("clipped scores logged as the reward", EXPERIENCE, "return totals, (pad", "return clipped_totals, (pad", "ppo/test_reward_scaling.py::test_the_logged_mean_is_of_the_scores_as_they_came"),
    ("a reward per token clipped by its sum", EXPERIENCE, "clipped = [row.clamp(-bound, bound) for row in scores]", "clipped = [row * (row.sum().clamp(-bound, bound) / row.sum()) for row in scores]", "ppo/test_reward_scaling.py::test_each_token_of_a_dense_reward_is_clipped"),
    ("ref's spread follows the latest collection", EXPERIENCE, "if ref_std is None:", "if True:", "ppo/test_reward_scaling.py::test_scores_are_clipped_then_divided_as_published"),
    ("rewards beyond the last token lost", SCORING, "torch.zeros(length).index_add(0, places.clamp(min=0, max=length - 1), row)", "torch.cat((row, laid))[:length]", "ppo/test_reward_functions.py::test_dense_rewards_may_be_counted_by_the_text"),
    # optimizer and schedule
    ("optimizer takes the rate alone", OPTIMIZERS, "if p.requires_grad], **config.kwargs)", "if p.requires_grad], lr=config.kwargs[\"lr\"])", "ppo/test_formulas_ppo.py::test_weights_and_rates_are_those_of_adamw"),
    ("Adam is AdamW", OPTIMIZERS, "\"adam\": torch.optim.Adam,", "\"adam\": torch.optim.AdamW,", "ppo/test_formulas_ppo.py::test_adam_decays_through_the_gradient"),
    ("linear schedule is constant", OPTIMIZERS, "\"linear\": lr_scheduler.LinearLR", "\"linear\": lr_scheduler.ConstantLR", "ppo/test_formulas_ppo.py::test_weights_and_rates_are_those_of_adamw"),
    ("constant schedule begins at a third", OPTIMIZERS, "{\"factor\": 1.0} if", "{} if", "ppo/test_formulas_ppo.py::test_weights_and_rates_are_those_of_adamw"),
    ("schedule never steps", PPO, "        self.scheduler.step()\n", "", "ppo/test_formulas_ppo.py::test_weights_and_rates_are_those_of_adamw"),
    ("schedule steps once a micro-batch", PPO, "                self.optimizer.zero_grad()\n", "                self.optimizer.zero_grad()\n                len(micro_batches) > 1 and rollouts is not micro_batches[0] and self.scheduler.step()\n", "ppo/test_formulas_ppo.py::test_weights_and_rates_are_those_of_adamw"),
    ("schedule steps once a PPO epoch", PPO, "        self.scheduler.step()\n", "        if self.collection is None or self.collection.update == 0:\n            self.scheduler.step()\n", "ppo/test_formulas_ppo.py::test_weights_and_rates_are_those_of_adamw"),
    ("clip norm of the head alone", PPO, "trained = [p for p in self.model.parameters() if p.requires_grad]", "trained = [p for p in self.policy.v_head.parameters() if p.requires_grad]", "ppo/test_update.py::test_clipping_scales_the_gradient"),
    # the KL on its way to the controller, and the coefficient on its way back
    ("KL per token to the controller", PPO, "Collection(rollouts, stats[\"policy/kl\"])", "Collection(rollouts, stats[\"policy/kl_per_token\"])", "ppo/test_formulas_ppo.py::test_controller_gets_nats_an_episode_and_its_coefficient_is_paid"),
    ("root of the KL to the controller", PPO, "Collection(rollouts, stats[\"policy/kl\"])", "Collection(rollouts, stats[\"policy/sqrt_kl\"])", "ppo/test_formulas_ppo.py::test_controller_gets_nats_an_episode_and_its_coefficient_is_paid"),
    ("controller counts batches", PPO, "update(self.collection.kl, self.method.num_rollouts)", "update(self.collection.kl, self.config.train.batch_size)", "ppo/test_formulas_ppo.py::test_controller_gets_nats_an_episode_and_its_coefficient_is_paid"),
    ("penalty keeps its first coefficient", PPO, "kl_coef = self.kl_controller.value", "kl_coef = self.method.init_kl_coef", "ppo/test_formulas_ppo.py::test_controller_gets_nats_an_episode_and_its_coefficient_is_paid"),
    ("controller moves every PPO epoch", PPO, "if collection.epoch == self.method.ppo_epochs:\n                    self.close_collection()", "if collection.update == 0:\n                    self.kl_controller.update(collection.kl, self.method.num_rollouts)\n                if collection.epoch == self.method.ppo_epochs:\n                    self.collection = None", "ppo/test_formulas_ppo.py::test_controller_gets_nats_an_episode_and_its_coefficient_is_paid"),
    ("KL of a batch instead of all episodes", PPO, "total / self.method.num_rollouts for", "total / self.config.train.batch_size for", "ppo/test_formulas_ppo.py::test_controller_gets_nats_an_episode_and_its_coefficient_is_paid"),
    ("advantages of a sample's neighbour", EXPERIENCE, "zip(episodes, outputs, advantages, returns, strict=True)", "zip(episodes, outputs, advantages.roll(1, 0), returns, strict=True)", "ppo/test_formulas_ppo.py::test_rollouts_hold_the_slow_advantages_and_returns"),
    ("spread of rewards unbiased", EVALUATION, "totals.std(correction=0)", "totals.std()", "ppo/test_formulas_ppo.py::test_evaluation_reports_mean_and_spread_of_its_rewards"),
    # seeds
    ("every PPO epoch in the same order", PPO, "random_stream(seed, self.iteration, collection.epoch, ", "random_stream(seed, self.iteration, 0, ", "ppo/test_formulas_ppo.py::test_seed_iteration_and_epoch_decide_what_is_drawn"),
    ("every collection in the same order", PPO, "random_stream(seed, self.iteration, collection.epoch, ", "random_stream(seed, 0, collection.epoch, ", "ppo/test_formulas_ppo.py::test_seed_iteration_and_epoch_decide_what_is_drawn"),
    ("order of batches ignores the seed", PPO, "random_stream(seed, self.iteration,", "random_stream(0, self.iteration,", "ppo/test_formulas_ppo.py::test_seed_iteration_and_epoch_decide_what_is_drawn"),
    ("samples ignore the seed", PPO, "self.rollout_generation, train.seed, self.iteration)", "self.rollout_generation, 0, self.iteration)", "ppo/test_formulas_ppo.py::test_samples_of_another_seed_are_others"),
    ("every collection by the same random numbers", PPO, "self.rollout_generation, train.seed, self.iteration)", "self.rollout_generation, train.seed, 0)", "ppo/test_formulas_ppo.py::test_seed_iteration_and_epoch_decide_what_is_drawn"),
    ("prompts ignore the seed", BASE, "PromptCursor(len(pipeline), self.config.train.seed)", "PromptCursor(len(pipeline), 0)", "ppo/test_formulas_ppo.py::test_seed_iteration_and_epoch_decide_what_is_drawn"),
    ("evaluation's samples ignore the seed", EVALUATION, "config, seed)[list(share)]", "config, 0)[list(share)]", "ppo/test_formulas_ppo.py::test_seed_iteration_and_epoch_decide_what_is_drawn"),
    ("seed and iteration add up", GENERATION_MODULE, "np.random.SeedSequence(seed)", "np.random.SeedSequence(sum(seed))", "ppo/test_formulas_ppo.py::test_seed_iteration_and_epoch_decide_what_is_drawn"),
    # runs at W&B
    ("user's W&B id for every run", HARDWARE, "if own and (own == known or own not in _WANDB_IDS) else", "if own else", "ppo/test_ppo_wandb.py::test_an_id_of_the_users_own_belongs_to_the_first_run"),
    ("failed run left open at W&B", HARDWARE, "        wandb.finish()\n", "        pass\n", "ppo/test_ppo_wandb.py::test_two_trainings_of_a_stage_are_two_runs_and_one_that_goes_on_is_its_own"),
    ("resumed run gets a new W&B id", HARDWARE, "known = kept.read_value(folder / RUN_ID) if goes_on else None", "known = None", "ppo/test_ppo_wandb.py::test_two_ppo_trainings_are_two_runs_and_one_that_goes_on_is_its_own"),
    ("PPO's W&B id not handed on", SETUP, "wandb | wandb_run(Path(train.checkpoint_dir), goes_on)", "wandb", "ppo/test_ppo_wandb.py::test_two_ppo_trainings_are_two_runs_and_one_that_goes_on_is_its_own"),
    ("a resumed run evaluates again", "trlx/trainer/checkpoint.py", '"evaluated", ', "", "ppo/test_progress.py::test_each_part_comes_back"),
    ("a resumed run has another spread of reference", "trlx/trainer/checkpoint.py", ', "ref_std")', ")", "ppo/test_progress.py::test_each_part_comes_back"),
    ("a resumed run forgets its guards", "trlx/trainer/checkpoint.py", '        t.guards.load_state_dict(state["guards"])\n', "", "ppo/test_progress.py::test_each_part_comes_back"),
    ("a resumed run's PPO epochs start over", "trlx/trainer/checkpoint.py", '{"kl": self.kl, "epoch": self.epoch, "update": self.update}', '{"kl": self.kl, "update": self.update}', "ppo/test_progress.py::test_each_part_comes_back"),
    ("the best policy takes no room", "trlx/trainer/checkpoint.py", 'return [*needs, Need("the best policy", folder, weights)] if train.save_best else needs', "return needs", "ppo/test_progress.py::test_the_bytes_of_a_run_by_hand"),
    ("checkpoints that are there are enough", "trlx/trainer/checkpoint.py", "max(kept * one - held(folder), one)", "kept * one - held(folder)", "ppo/test_progress.py::test_the_bytes_of_a_run_by_hand"),
    ("a value head takes no room", "trlx/trainer/checkpoint.py", "state = FP32 * sum(p.numel() for p in policy.parameters())", "state = FP32 * sum(p.numel() for p in model.parameters())", "ppo/test_progress.py::test_the_bytes_of_a_run_by_hand"),
    ("a run is known by its model's place", "trlx/trainer/checkpoint.py", "weights_digest(path) or path", "path", "ppo/test_progress.py::test_a_model_is_known_by_its_weights_wherever_it_lies"),
    ("a run is known by its tokenizer's place", "trlx/trainer/checkpoint.py", '    config.pop("tokenizer.tokenizer_path")\n', "", "ppo/test_progress.py::test_a_model_is_known_by_its_weights_wherever_it_lies"),
    ("prompts known by their texts run together", "trlx/trainer/checkpoint.py", 'hashlib.sha256("\\0".join(item.text', 'hashlib.sha256("".join(item.text', "ppo/test_progress.py::test_a_run_is_known_by_its_prompts_and_by_where_its_responses_end"),
    ("a run goes on with other stop sequences", "trlx/trainer/checkpoint.py", '        "stop_sequences": trainer.stop_sequences,\n', "", "ppo/test_progress.py::test_a_run_is_known_by_its_prompts_and_by_where_its_responses_end"),
]
