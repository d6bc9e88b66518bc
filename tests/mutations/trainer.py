# ruff: noqa: E501  a table, one mutation a line
"""PPO's trainer: collecting, optimising, evaluating, going on."""

ARGUMENTS = "trlx/data/arguments.py"
CHECKPOINT = "trlx/trainer/checkpoint.py"
EVALUATION = "trlx/trainer/evaluation.py"
EXPERIENCE = "trlx/trainer/experience.py"
LOOP = "trlx/trainer/ppo.py"
OPTIMISATION = "trlx/trainer/optimisation.py"
SCORING = "trlx/trainer/scoring.py"

# fmt: off
ROWS = [
    # trainer
    ("accumulation summed instead of averaged", OPTIMISATION, "/ (len(parts) * self.accelerator.num_processes)", "/ (len(parts) ** 2 * self.accelerator.num_processes)", "trlx_train::test_update_is_the_same_under_any_split"),
    ("mean per micro-batch", OPTIMISATION, "*old, batch.mask, n)", "*old, batch.mask)", "trlx_train::test_update_is_the_same_under_any_split"),
    ("stand-in is trained", OPTIMISATION, "mask=torch.zeros_like(batch.mask)", "mask=batch.mask", "trlx_train::test_update_is_the_same_under_any_split"),
    ("statistics averaged over micro-batches", OPTIMISATION, "share = batch.mask.sum() / n", "share = 1.0", "trlx_train::test_update_is_the_same_under_any_split"),
    ("rollouts at another temperature than training", OPTIMISATION, "*rows_of, self.temperature, trunk", "*rows_of, 2.0, trunk", "trlx_train::test_ratio_is_one_on_the_first_minibatch"),
    ("zero spread divides", EXPERIENCE, ".get(self.method.scale_reward) or 1.0", ".get(self.method.scale_reward, 1.0)", "trlx_train::test_scores_without_spread_are_left_alone"),
    ("evaluation draws from training's numbers", EVALUATION, "with torch.random.fork_rng(devices), ", "with ", "trlx_train::test_evaluation_leaves_training_as_it_is"),
    ("worst policy kept", EVALUATION, "reward > self.best_reward", "reward < -self.best_reward", "trlx_train::test_best_checkpoint_is_the_best_evaluated"),
    ("NaN rewards accepted", SCORING, "if not torch.isfinite(row).all():", "if False:", "trlx_train::test_bad_rewards_are_refused_by_name"),
    ("resume forgets the prompts' order", CHECKPOINT, '        t.cursor.load_state_dict(state["cursor"])\n', "", "trlx_train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the KL coefficient", CHECKPOINT, '        t.kl_controller.value = state["kl_coef"]\n', "", "trlx_train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the moments", CHECKPOINT, '        t.moments.load_state_dict(state["moments"])\n', "", "trlx_train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the schedule", CHECKPOINT, '        t.scheduler.load_state_dict(state["scheduler"])\n', "", "trlx_train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume runs finished collections again", CHECKPOINT, '("step", "iteration", ', '("step", ', "trlx_train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the best reward", CHECKPOINT, '"best_reward", ', "", "trlx_train::test_resumed_run_is_the_uninterrupted_one"),
    ("KL coefficient never updated", LOOP, "self.kl_controller.update(self.collection.kl, self.method.num_rollouts)", "pass", "trlx_train::test_adaptive_kl_moves_once_a_collection"),
    # scaled scores, arguments
    ("one text taken for a list of letters", ARGUMENTS, "isinstance(prompts, str | bytes |", "isinstance(prompts, bytes |", "trlx_arguments::test_prompts_are_refused_by_name"),
    ("empty stop sequence let through", ARGUMENTS, "if not all(stops):", "if False:", "trlx_arguments::test_other_arguments_are_refused_by_name"),
    ("divided before clipped", EXPERIENCE, "return totals, [row / spread for row in clipped]", "return totals, [(row / spread).clamp(-bound, bound) for row in scores]", "trlx_scaling::test_scores_are_clipped_then_divided_as_published"),
    ("moments of the scores as they came", EXPERIENCE, "self.moments.update(clipped_totals)", "self.moments.update(totals)", "trlx_scaling::test_scores_are_clipped_then_divided_as_published"),
    ("clipped scores logged as the reward", EXPERIENCE, "return totals, [row / spread for row in clipped]", "return clipped_totals, [row / spread for row in clipped]", "trlx_scaling::test_the_logged_mean_is_of_the_scores_as_they_came"),
    ("a reward per token clipped by its sum", EXPERIENCE, "clipped = [row.clamp(-bound, bound) for row in scores]", "clipped = [row * (row.sum().clamp(-bound, bound) / row.sum()) for row in scores]", "trlx_scaling::test_each_token_of_a_dense_reward_is_clipped"),
    ("ref's spread follows the latest collection", EXPERIENCE, "if self.ref_std is None:", "if True:", "trlx_scaling::test_scores_are_clipped_then_divided_as_published"),
    ("KL per token handed to the controller", LOOP, 'checkpoint.Collection(rollouts, stats["policy/kl"])', 'checkpoint.Collection(rollouts, stats["policy/kl_per_token"])', "trlx_scaling::test_the_controller_hears_nats_an_episode"),
    ("controller counts in batches", LOOP, "self.kl_controller.update(self.collection.kl, self.method.num_rollouts)", "self.kl_controller.update(self.collection.kl, self.config.train.batch_size)", "trlx_scaling::test_the_controller_hears_nats_an_episode"),
    ("rewards beyond the last token lost", SCORING, "laid.index_add(0, places.clamp(min=0, max=length - 1), row)", "torch.cat((row, laid))[:length]", "trlx_train::test_dense_rewards_may_be_counted_by_the_text"),
]
