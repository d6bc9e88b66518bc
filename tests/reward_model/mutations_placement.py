# ruff: noqa: E501  a table, one mutation a line
"""Where PPO's reward model stands, and who scores."""

PLACEMENT = "reward_model/placement.py"
STAGE3 = "trlx_gptj_text_summarization.py"
TESTS = "reward_model/test_placement.py"

# fmt: off
ROWS = [
    ("one process scores, the others wait", STAGE3, "        reward_on_all_ranks=True,\n", "", "test_published_defaults.py::test_every_default_is_the_published_one_or_ours_for_a_reason"),
    ("spare GPU: other machines' processes count", PLACEMENT, "used = local_processes()", 'used = int(__import__("os").environ["WORLD_SIZE"])', f"{TESTS}::test_a_spare_gpu_of_this_machine_else_the_policys"),
    ("spare GPU: all on the first", PLACEMENT, "(policy.index or 0) % spare", "0", f"{TESTS}::test_a_spare_gpu_of_this_machine_else_the_policys"),
    ("shares: the head in half precision", PLACEMENT, "head, model.v_head = model.v_head, nn.Identity()", "head = model.v_head", f"{TESTS}::test_shares_score_what_the_whole_scores"),
    ("shares: the digest is that of a share", PLACEMENT, "return self.whole_digest", "return self.model.digest()", f"{TESTS}::test_shares_score_what_the_whole_scores"),
    ("shares: each has the whole", PLACEMENT, '"zero_optimization": {"stage": 3}}', '"zero_optimization": {"stage": 0}}', f"{TESTS}::test_shares_score_what_the_whole_scores"),
    ("under ZeRO-3 each process has the whole reward model", STAGE3, "zero_stage(train.precision) != 3", "zero_stage(train.precision) != 4", f"{TESTS}::test_stage_3_under_zero_3_shares_the_reward_model"),
    ("each machine decides about shares for itself", STAGE3, "max_over_processes(int(device == state.device), state.device) == 1", "device == state.device", f"{TESTS}::test_one_machine_without_a_spare_gpu_has_all_share"),
    ("ZeRO by flags alone is not seen", "trlx/trainer/setup.py", 'int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")) if uses_deepspeed() else 0', "0", f"{TESTS}::test_the_zero_stage_that_was_asked_for"),
    ("a call that all make together is made again by one", "trlx/trainer/rewards.py", "    except UserError as error:\n        raise RewardError(str(error)) from error\n", "", "ppo/test_reward_faults.py::test_a_checkpoint_then_the_sample_then_the_end"),
]
