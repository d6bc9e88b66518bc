# ruff: noqa: E501  a table, one mutation a line
"""PPO's arithmetic: log-probabilities, whitening, GAE, rewards, losses, KL controllers."""

MODELING = "trlx/utils/modeling.py"
PPO = "trlx/models/modeling_ppo.py"

# fmt: off
ROWS = [
    # log-probabilities, entropy, whitening
    ("log-probability's sign", MODELING, "return -flat.view", "return flat.view", "ppo/test_arithmetic.py::test_logprobs_by_hand"),
    ("log-probabilities in half precision", MODELING, "cross_entropy(logits.flatten(0, -2).float()", "cross_entropy(logits.flatten(0, -2)", "ppo/test_arithmetic.py::test_logprobs_are_computed_in_fp32"),
    ("entropy's sign", MODELING, "return -(logprobs.exp()", "return (logprobs.exp()", "ppo/test_arithmetic.py::test_entropy_by_hand"),
    ("mean over padding too", MODELING, "return (xs * mask).sum() / mask.sum().clamp(min=1)", "return (xs * mask).mean()", "ppo/test_arithmetic.py::test_masked_mean_ignores_what_is_masked"),
    ("whitening over padding", MODELING, "get_global_statistics(xs, mask, distributed)", "get_global_statistics(xs, None, distributed)", "ppo/test_arithmetic.py::test_whitening_against_numpy"),
    ("variance in one pass", MODELING, "(((xs - mean) ** 2) * mask).sum()", "(xs**2 * mask).sum() - count * mean**2", "ppo/test_arithmetic.py::test_global_statistics_keep_their_digits_far_from_zero"),
    ("explained variance upside down", MODELING, "1 - error / total.clamp(min=1e-8)", "1 - total / error.clamp(min=1e-8)", "ppo/test_arithmetic.py::test_explained_variance_by_hand"),
    ("running variance biased", MODELING, "self.var = combined / max(total - 1, 1)", "self.var = combined / total", "ppo/test_arithmetic.py::test_running_moments_equal_numpy_over_all_data"),
    # GAE
    ("GAE without mask", MODELING, "rewards, values = rewards * mask, values * mask", "", "ppo/test_advantages.py::test_gae_against_its_definition"),
    ("value aligned one late", MODELING, "gamma * next_value - values[:, t]", "gamma * values[:, t] - values[:, t]", "ppo/test_advantages.py::test_gae_by_hand"),
    ("GAE forgets lambda", MODELING, "delta + gamma * lam * next_advantage", "delta + gamma * next_advantage", "ppo/test_advantages.py::test_gae_by_hand"),
    ("GAE forgets gamma", MODELING, "delta + gamma * lam * next_advantage", "delta + lam * next_advantage", "ppo/test_advantages.py::test_gae_by_hand"),
    ("returns without values", MODELING, "return advantages, advantages + values", "return advantages, advantages", "ppo/test_advantages.py::test_gae_by_hand"),
    # rewards
    ("KL's sign", MODELING, "rewards = -kl_coef * (logprobs - ref_logprobs)", "rewards = kl_coef * (logprobs - ref_logprobs)", "ppo/test_advantages.py::test_rewards_by_hand"),
    ("KL paid for padding", MODELING, "(logprobs - ref_logprobs) * mask", "(logprobs - ref_logprobs)", "ppo/test_advantages.py::test_rewards_against_a_loop"),
    ("score one slot early", MODELING, "mask.long().sum(1, keepdim=True) - 1", "(mask.long().sum(1, keepdim=True) - 2).clamp(min=0)", "ppo/test_advantages.py::test_rewards_by_hand"),
    ("score one slot late", MODELING, "mask.long().sum(1, keepdim=True) - 1", "mask.long().sum(1, keepdim=True).clamp(max=mask.shape[1] - 1)", "ppo/test_advantages.py::test_rewards_by_hand"),
    ("dense rewards for padding", MODELING, "return rewards + scores * mask", "return rewards + scores", "ppo/test_advantages.py::test_rewards_against_a_loop"),
    # loss
    ("policy clip dropped", PPO, "ratio.clamp(1 - cliprange, 1 + cliprange)", "ratio", "ppo/test_ppo_loss.py::test_policy_loss_by_hand"),
    ("min for max in the policy loss", PPO, "(torch.max(unclipped, clipped) * mask)", "(torch.min(unclipped, clipped) * mask)", "ppo/test_ppo_loss.py::test_policy_loss_by_hand"),
    ("advantage's sign", PPO, "unclipped = -advantages * ratio", "unclipped = advantages * ratio", "ppo/test_ppo_loss.py::test_policy_loss_by_hand"),
    ("ratio upside down", PPO, "log_ratio = (logprobs - old_logprobs) * mask", "log_ratio = (old_logprobs - logprobs) * mask", "ppo/test_ppo_loss.py::test_policy_loss_by_hand"),
    ("policy loss of padding", PPO, "(torch.max(unclipped, clipped) * mask)", "(torch.max(unclipped, clipped))", "ppo/test_ppo_loss.py::test_loss_ignores_padding"),
    ("value clip dropped", PPO, "(values - old_values).clamp(-cliprange_value, cliprange_value)", "(values - old_values)", "ppo/test_ppo_loss.py::test_value_loss_by_hand"),
    ("min for max in the value loss", PPO, "torch.max(value_errors, clipped_errors)", "torch.min(value_errors, clipped_errors)", "ppo/test_ppo_loss.py::test_value_loss_by_hand"),
    ("value loss without half", PPO, "value_loss = 0.5 * ", "value_loss = ", "ppo/test_ppo_loss.py::test_value_loss_by_hand"),
    ("vf_coef dropped", PPO, "policy_loss + vf_coef * value_loss", "policy_loss + value_loss", "ppo/test_ppo_loss.py::test_value_loss_by_hand"),
    ("n ignored", PPO, "n = mask.sum().clamp(min=1) if n is None else n", "n = mask.sum().clamp(min=1)", "ppo/test_ppo_loss.py::test_losses_of_parts_average_to_the_loss_of_the_whole"),
    # KL controllers
    ("proportional error not clipped", PPO, "min(max(current / self.target - 1, -0.2), 0.2)", "current / self.target - 1", "ppo/test_arithmetic.py::test_adaptive_controller_by_hand"),
    ("controller steers away", PPO, "1 + error * n_steps", "1 - error * n_steps", "ppo/test_arithmetic.py::test_adaptive_controller_settles_where_the_kl_is_on_target"),
    # arguments on their way to a formula
    ("gamma and lambda exchanged", PPO, "gae(rewards, values, mask, self.gamma, self.lam)", "gae(rewards, values, mask, self.lam, self.gamma)", "ppo/test_formulas_ppo.py::test_rollouts_hold_the_slow_advantages_and_returns"),
    ("returns of whitened advantages", PPO, "            advantages = whiten(advantages, mask=mask)\n", "            advantages = whiten(advantages, mask=mask)\n            returns = advantages + values * mask\n", "ppo/test_formulas_ppo.py::test_rollouts_hold_the_slow_advantages_and_returns"),
    ("whitening by the unbiased variance", MODELING, "return mean, squares / count, totals[1]", "return mean, squares / (count - 1), totals[1]", "ppo/test_formulas_ppo.py::test_rollouts_hold_the_slow_advantages_and_returns"),
    ("whitening leaves the mean", MODELING, "    if not shift_mean:\n", "    if shift_mean:\n", "ppo/test_formulas_ppo.py::test_rollouts_hold_the_slow_advantages_and_returns"),
    ("last value bootstraps itself", MODELING, "next_value = next_advantage = torch.zeros_like(values[:, 0])", "next_value, next_advantage = values[:, -1], torch.zeros_like(values[:, 0])", "ppo/test_formulas_ppo.py::test_rollouts_hold_the_slow_advantages_and_returns"),
    ("value clipped by the ratio's range", PPO, "clamp(-cliprange_value, cliprange_value)", "clamp(-cliprange, cliprange)", "ppo/test_ppo_loss.py::test_loss_against_a_loop"),
    ("ratio clipped by the value's range", PPO, "ratio.clamp(1 - cliprange, 1 + cliprange)", "ratio.clamp(1 - cliprange_value, 1 + cliprange_value)", "ppo/test_ppo_loss.py::test_loss_against_a_loop"),
    ("value clipped about itself", PPO, "clipped_values = old_values + (values - old_values)", "clipped_values = values.detach() + (values - old_values)", "ppo/test_ppo_loss.py::test_value_loss_by_hand"),
    ("horizon ignored", PPO, "AdaptiveKLController(self.init_kl_coef, self.target, self.horizon)", "AdaptiveKLController(self.init_kl_coef, self.target, 10000)", "ppo/test_formulas_ppo.py::test_controller_gets_nats_an_episode_and_its_coefficient_is_paid"),
]
