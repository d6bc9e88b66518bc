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
]
