# ruff: noqa: E501  a table, one mutation a line
"""Presets, and the options that they need."""

PRESETS = "summarize_rlhf/run/presets.py"
ARGUMENTS = "summarize_rlhf/run/arguments.py"
OVERRIDES = "summarize_rlhf/run/overrides.py"
PLAN = "trlx/trainer/batch_plan.py"
POLICY = "trlx/models/policy.py"
REWARDS = "trlx/trainer/rewards.py"
VALUE = "trlx/models/value_head.py"
STAGE3 = "trlx_gptj_text_summarization.py"

# fmt: off
ROWS = [
    ("preset beats the flag", ARGUMENTS, "argv = [*as_flags(read_preset(stage, parsed.preset)), *argv]", "argv = [*argv, *as_flags(read_preset(stage, parsed.preset))]", "run/test_presets.py::test_a_flag_beats_the_preset_wherever_it_stands"),
    ("preset beats the override", OVERRIDES, "_without_replaced(preset, given, sections) | given", "given | _without_replaced(preset, given, sections)", "run/test_presets.py::test_an_override_beats_the_preset_in_stage_3"),
    ("a file beats the flags behind it", ARGUMENTS, "argv = [*_flags_in(Path(argv[0]), kind), *argv[1:]]", "argv = [*argv[1:], *_flags_in(Path(argv[0]), kind)]", "run/test_arguments.py::test_flags_behind_a_file_beat_it"),
    ("preset ignored in stage 3", STAGE3, ', stage="ppo")', ")", "run/test_presets.py::test_every_value_reaches_its_argument_and_nothing_else_changes"),
    ("new schedule keeps the old one's arguments", STAGE3, 'values[section]["kwargs"] = {}', "pass", "run/test_presets.py::test_another_schedule_or_optimizer_does_not_inherit_arguments"),
    ("new schedule keeps the preset's arguments", OVERRIDES, "return _without_replaced(preset, given, sections) | given | fresh", "return preset | given | fresh", "run/test_presets.py::test_nor_those_of_a_preset"),
    ("value without its source", PRESETS, "if not isinstance(values, dict) or values.keys() != reasons.keys():", "if not isinstance(values, dict):", "run/test_presets.py::test_a_value_without_its_source_is_refused"),
    ("paper: the rate of another model", "configs/presets/sft_paper.yaml", "learning_rate: 2.83e-5", "learning_rate: 6.35e-5", "run/test_presets.py::test_figures_are_those_of_the_sources"),
    ("modern: Adam's epsilon of torch", "configs/presets/ppo_modern.yaml", "optimizer.kwargs.eps: 1.0e-5", "optimizer.kwargs.eps: 1.0e-7", "run/test_presets.py::test_figures_are_those_of_the_sources"),
    ("minibatches forget the processes", PLAN, "share = -(-method.num_rollouts // processes)\n", "share = method.num_rollouts\n", "ppo/test_num_minibatches.py::test_counts_by_hand"),
    ("minibatches beside the launcher's accumulation", PLAN, "    return -(-share // (method.num_minibatches * train.batch_size))\n", "    return launchers * -(-share // (method.num_minibatches * train.batch_size))\n", "ppo/test_num_minibatches.py::test_counts_by_hand"),
    ("score without EOS on all", REWARDS, "        if not has_ended(episode.response, generation):\n", "        if True:\n", "ppo/test_score_without_eos.py::test_by_a_slow_loop"),
    ("score without EOS on the first token", REWARDS, "row.view(-1)[-1] = score", "row.view(-1)[0] = score", "ppo/test_score_without_eos.py::test_by_a_slow_loop"),
    ("score without EOS is logged alone", "trlx/trainer/ppo.py", "        scores = rewards.replace_unfinished(", "        _ = rewards.replace_unfinished(", "ppo/test_score_without_eos.py::test_a_collection_is_trained_on_it"),
    ("a critic of its own beside an adapter is told late", "trlx/data/checks.py", "        lora.check_value_layers(method.num_value_layers_unfrozen)\n", "", "ppo/test_value_model.py::test_a_critic_of_its_own_beside_an_adapter_is_refused"),
    ("critic reads the policy", POLICY, "value_states = self.value_decoder.run_backbone(keep_from, input_ids=tokens)", "value_states = self.decoder.run_backbone(keep_from, input_ids=tokens)", "ppo/test_value_model.py::test_a_critic_of_its_own_is_the_reward_model"),
    ("critic keeps the SFT model's weights", VALUE, '        _load(policy.value_model, state, "transformer.", path)\n', "        pass\n", "ppo/test_value_model.py::test_a_critic_of_its_own_is_the_reward_model"),
    ("critic shares the policy's weights", POLICY, "self.value_model = copy.deepcopy(model.base_model).requires_grad_(True)", "self.value_model = model.base_model.requires_grad_(True)", "ppo/test_value_model.py::test_a_critic_of_its_own_is_the_reward_model"),
    ("reward model is not the critic's start", STAGE3, "            updated.method.value_model = task.reward_model\n", "            pass\n", "run/test_presets.py::test_the_critic_starts_from_the_reward_model"),
]
