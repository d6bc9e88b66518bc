# ruff: noqa: E501  a table, one mutation a line
"""Rollouts: prompts, responses, masks, batches."""

END_OF_RESPONSE = "summarize_rlhf/lm/end_of_response.py"
GENERATION = "summarize_rlhf/lm/generation_options.py"
PPO = "trlx/trainer/ppo.py"
PROMPTS = "trlx/pipeline/offline_pipeline.py"
REWARDS = "trlx/trainer/rewards.py"
ROLLOUTS = "trlx/pipeline/rollouts.py"
SAMPLING = "summarize_rlhf/lm/generation.py"

# fmt: off
ROWS = [
    # rollouts
    ("mask by comparing with pad", ROLLOUTS, "mask=(torch.arange(int(lengths.max()))[None] < lengths[:, None]).float()", "mask=(pad(responses, torch.long) != 0).float()", "ppo/test_rollouts.py::test_batch_by_hand"),
    ("mask shifted by one", ROLLOUTS, "< lengths[:, None]).float()", "< lengths[:, None] - 1).float()", "ppo/test_rollouts.py::test_batch_by_hand"),
    ("EOS dropped", END_OF_RESPONSE, "return response[: stop + 1]", "return response[:stop]", "ppo/test_sampled_responses.py::test_up_to_end"),
    ("responses decoded and encoded", REWARDS, "Episode(prompt.ids, response, prompt.text", "Episode(prompt.ids, tokenizer(text).input_ids or response, prompt.text", "ppo/test_rollouts.py::test_ids_sampled_are_ids_stored_and_trained"),
    ("checkpoint's generation_config leaks", SAMPLING, "    model.generation_config = GenerationConfig()\n", "", "ppo/test_sampled_responses.py::test_checkpoints_own_generation_config_does_not_leak"),
    ("top-k of 50 by default", GENERATION, '"top_k": 0,', '"top_k": 50,', "ppo/test_sampled_responses.py::test_sampled_distribution_is_the_trained_one"),
    ("stop sequence trained past its end", END_OF_RESPONSE, "return response[:length], text", "return response, text", "ppo/test_sampled_responses.py::test_cut_at_stop"),
    ("every round in the same order", PROMPTS, "manual_seed(self.seed + round_)", "manual_seed(self.seed)", "ppo/test_prompts.py::test_cursor_goes_through_every_prompt_each_round_in_another_order"),
    ("dictionary prompts eaten", PROMPTS, "else dict(row) for row in prompts", "else row for row in prompts", "ppo/test_prompts.py::test_pipeline_takes_strings_and_dictionaries_and_leaves_them_alone"),
    ("last rollouts never trained", ROLLOUTS, "for step in range(steps):", "for step in range(len(lengths) // batch_size):", "ppo/test_rollouts.py::test_minibatches_hold_every_rollout_once"),
    ("KL estimator of the other direction", PPO, "(-log_ratio).exp() - 1 + log_ratio", "log_ratio.exp() - 1 - log_ratio", "ppo/test_rollouts.py::test_statistics_by_hand"),
    ("a kept trunk beyond a cut response", "trlx/trainer/experience.py", "trunks[i][: len(episodes[i].prompt) + len(episodes[i].response)] for", "trunks[i] for", "ppo/test_experience.py::test_each_episode_has_what_the_model_says_of_it"),
    ("a rank's own passes alone", "trlx/trainer/experience.py", "range(0, largest_share, chunk_size)", "range(0, len(episodes), chunk_size)", "ppo/test_experience.py::test_every_rank_makes_the_passes_of_the_largest_share"),
    ("a rank without episodes left makes no pass", "trlx/trainer/experience.py", "rows = order[start : start + chunk_size] or order[:1]  #", "rows = order[start : start + chunk_size] or order  #", "ppo/test_experience.py::test_every_rank_makes_the_passes_of_the_largest_share"),
    ("temperature left out of stored log-probabilities", "trlx/trainer/experience.py", "out = model(*ids, temperature,", "out = model(*ids, 1.0,", "ppo/test_experience.py::test_each_episode_has_what_the_model_says_of_it"),
    ("padding kept in a rollout", "trlx/trainer/experience.py", "[k, :response].cpu()", "[k].cpu()", "ppo/test_experience.py::test_each_episode_has_what_the_model_says_of_it"),
    ("outputs in the order of their lengths", "trlx/trainer/experience.py", "            outputs[i] = {name", "            outputs[start + k] = {name", "ppo/test_experience.py::test_each_episode_has_what_the_model_says_of_it"),
    ("scores of this rank alone move the moments", "trlx/trainer/experience.py", "sums = gather_object([(row.sum().item(), kept.sum().item()) for row, kept in zip(scores, clipped, strict=True)])", "sums = [(row.sum().item(), kept.sum().item()) for row, kept in zip(scores, clipped, strict=True)]", "ppo/test_experience.py::test_scores_of_all_ranks_move_the_moments"),
    ("all hidden states of a rollout are read", "trlx/trainer/experience.py", "with_reference=True, keep_from=batch.keep_from)", "with_reference=True, keep_from=0)", "ppo/test_experience.py::test_each_episode_has_what_the_model_says_of_it"),
    ("rewards per token stacked", "trlx/trainer/experience.py", "(pad(scaled) if scaled[0].dim() == 1", "(pad(scaled) if scaled[0].dim() == 2", "ppo/test_experience.py::test_rewards_per_token_of_other_lengths_are_padded"),
    ("ranks take equal shares of the scores", REWARDS, "start = sum(counts[: accelerator.process_index])", "start = len(episodes) * accelerator.process_index", "ppo/test_experience.py::test_a_rank_gets_its_own_scores_of_those_that_the_first_made"),
    ("another rank's failure passes", REWARDS, "    if message is not None:\n        raise RewardError(message)\n", "", "ppo/test_experience.py::test_what_another_rank_raises_is_raised_here"),
    ("scores keep their graph", REWARDS, ".detach().cpu()", ".cpu()", "ppo/test_experience.py::test_scores_have_no_graph_and_a_log_has_their_sums"),
    ("a log has the mean of a reward per token", REWARDS, '"score": score.sum().item()', '"score": score.mean().item()', "ppo/test_experience.py::test_scores_have_no_graph_and_a_log_has_their_sums"),
]
