# ruff: noqa: E501  a table, one mutation a line
"""Precision: what is chosen, what is computed in fp32 all the same, and what is refused."""

CHECKS = "trlx/data/checks.py"
DEEPSPEED = "summarize_rlhf/run/deepspeed_config.py"
POLICY = "trlx/models/policy.py"
PRECISION = "summarize_rlhf/lm/precision.py"
RM = "reward_model/train_reward_model_gptj.py"
SETUP = "trlx/trainer/setup.py"
SFT = "sft/train_gptj_summarize.py"

# fmt: off
ROWS = [
    ("precision asked for is ignored", PRECISION, '    if precision != "auto":\n        return DTYPES[precision]\n', "", "lm/test_precision.py::test_what_is_trained_in"),
    ("bf16 is emulated", PRECISION, 'if precision == "bf16" and not has_bf16:', "if False:", "lm/test_precision.py::test_what_is_trained_in"),
    ("fp16 trains on a CPU", PRECISION, "if dtype == torch.float16 and not torch.cuda.is_available():", "if False:", "lm/test_precision.py::test_what_is_trained_in"),
    ("PPO finds out late that no CPU trains in fp16", CHECKS, "    training_dtype(train.precision)\n", "", "lm/test_precision.py::test_ppo_is_told_before_anything_is_loaded"),
    ("reward test not in the published fp16", "reward_model/gptj_reward_test.py", '"fp16" if device == "cuda" else "auto"', '"auto"', "lm/test_precision.py::test_the_reward_test_takes_the_published_fp16_on_a_gpu"),
    ("the reward model of PPO in auto", "trlx_gptj_text_summarization.py", "dtype=dtype_for(device, config.train.precision),", "dtype=dtype_for(device),", "lm/test_precision.py::test_ppo_scores_in_its_own_precision"),
    ("a file is scored in auto", "reward_model/score.py", "        dtype=dtype_for(precision=args.precision),\n        max_length", "        dtype=dtype_for(),\n        max_length", "lm/test_precision.py::test_a_file_is_scored_in_a_precision"),
    ("frozen blocks kept in fp32", RM, "training, dtype, args.trunk_cache_gb)", "training, torch.float32, args.trunk_cache_gb)", "reward_model/test_frozen_blocks.py::test_the_stage_keeps_them_in_its_precision"),
    ("SFT trains in auto", SFT, "training_dtype(args.precision)", "training_dtype()", "run/test_fp32_masters.py::test_steps_of_5e_6_add_up_in_fp32"),
    ("RM trains in auto", RM, "training_dtype(args.precision)", "training_dtype()", "run/test_fp32_masters.py::test_steps_of_5e_6_add_up_in_fp32"),
    ("PPO trains in auto", SETUP, "training_dtype(train.precision)", "training_dtype()", "run/test_fp32_masters.py::test_steps_of_5e_6_add_up_in_fp32"),
    ("tables in auto", "trlx_inference_gptj.py", "\"device\": state.device, \"dtype\": models[0].dtype}", "\"device\": state.device, \"dtype\": torch.float64}", "lm/test_precision.py::test_the_tables_and_the_reward_test_run_in_bf16_and_fp16"),
    ("no bf16 for Trainer on a CPU", "summarize_rlhf/run/trainer_arguments.py", '        "use_cpu": not on_gpu,  # Trainer takes bf16 on a CPU that is asked for\n', "", "run/test_fp32_masters.py::test_steps_of_5e_6_add_up_in_fp32"),
    ("a DeepSpeed file of another precision", DEEPSPEED, 'if config.get("bf16", {}).get("enabled") is True and dtype != torch.bfloat16:', "if False:", "run/test_deepspeed_config.py::test_a_file_of_another_precision_is_refused"),
    ("weights in bf16 alone", DEEPSPEED, "        if config.get(section, {}).get(name):\n", "        if False:\n", "run/test_deepspeed_config.py::test_a_file_of_another_precision_is_refused"),
    ("temperature divides bf16", POLICY, "decoder.run_head(states[None])[0].float() / temperature", "decoder.run_head(states[None])[0] / temperature", "ppo/test_bf16_rollouts.py::test_logits_become_fp32_before_the_temperature_divides_them"),
    ("log-probabilities in bf16", "trlx/utils/modeling.py", "cross_entropy(logits.flatten(0, -2).float(),", "cross_entropy(logits.flatten(0, -2),", "ppo/test_bf16_rollouts.py::test_log_probabilities_of_bf16_logits_are_fp32s"),
    ("all logits of a batch at once", "summarize_rlhf/lm/over_vocabulary.py", "    if most <= step:\n", "    if True:\n", "lm/test_over_vocabulary.py::test_pieces_give_what_the_whole_gives"),
    ("logits kept for the backward pass", "summarize_rlhf/lm/over_vocabulary.py", "checkpoint(function, *piece, use_reentrant=False)", "function(*piece)", "lm/test_over_vocabulary.py::test_pieces_give_what_the_whole_gives"),
    ("PPO holds all logits of a batch", POLICY, "return in_pieces(self.causal_lm, of_tokens, picked, responses.flatten())", "return of_tokens(picked, responses.flatten())", "lm/test_over_vocabulary.py::test_pieces_give_what_the_whole_gives"),
    ("supervised loss in bf16", "sft/loss.py", "cross_entropy(logits.float(), targets", "cross_entropy(logits, targets", "ppo/test_bf16_rollouts.py::test_supervised_loss_of_bf16_logits_is_fp32s"),
    ("sampling in another precision than training", "trlx/trainer/checkpoint.py", "with zero3.gathered_model(model), accelerator.autocast():", "with zero3.gathered_model(model):", "ppo/test_bf16_rollouts.py::test_sampled_stored_and_trained"),
    ("offload of weights on a CPU", DEEPSPEED, '        zero.pop("offload_param", None)\n', "", "run/test_deepspeed_config.py::test_other_options_of_a_section_stay"),
    ("other options of bf16 lost", DEEPSPEED, '{**config.get("bf16", {}), "enabled": True}', '{"enabled": True}', "run/test_deepspeed_config.py::test_other_options_of_a_section_stay"),
    ("this repository's DeepSpeed file before one's own", DEEPSPEED, "Path(path) if Path(path).exists() else ROOT / path", "ROOT / path", "run/test_deepspeed_config.py::test_relative_deepspeed_file_is_found_from_any_folder"),
    ("clipping at true", DEEPSPEED, "isinstance(clip, bool) or ", "", "run/test_deepspeed_config.py::test_a_bad_deepspeed_file_is_named"),
    ("sections that are no objects", DEEPSPEED, ', "data_types", "torch_autocast")', ")", "run/test_deepspeed_config.py::test_a_bad_deepspeed_file_is_named"),
    ("options that DeepSpeed does not take", DEEPSPEED, '        check_options("zero_optimization", config.get("zero_optimization", {}))\n', "", "run/test_deepspeed_config.py::test_a_bad_deepspeed_file_is_named"),
    ("fp16 that DeepSpeed does not take", DEEPSPEED, "            check_options(section, found[section])\n", "            pass\n", "run/test_deepspeed_config.py::test_a_bad_deepspeed_file_is_named"),
    ("a whole that DeepSpeed does not take", DEEPSPEED, "        check_whole(found)\n", "", "run/test_deepspeed_config.py::test_a_bad_deepspeed_file_is_named"),
    ("half precision enabled by a word", DEEPSPEED, 'not in (True, False, "auto"):', "in ():", "run/test_deepspeed_config.py::test_a_bad_deepspeed_file_is_named"),
    ("gradients add up in anything", DEEPSPEED, '        if dtype not in (None, "auto"):\n', "        if False:\n", "run/test_deepspeed_config.py::test_a_bad_deepspeed_file_is_named"),
    ("clipping below nothing", DEEPSPEED, "or not 0 <= clip < math.inf)", ")", "run/test_deepspeed_config.py::test_a_bad_deepspeed_file_is_named"),
]
