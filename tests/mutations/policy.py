# ruff: noqa: E501  a table, one mutation a line
"""The policy: its blocks, value head and reference, and the last block's keep_from."""

PPO = "trlx/trainer/ppo.py"
PRECISION = "summarize_rlhf/lm/precision.py"
ADAPTERS = "trlx/models/lora.py"
BRANCHES = "summarize_rlhf/lm/branches.py"
DECODING = "summarize_rlhf/lm/decoding.py"
EVALUATION = "trlx/trainer/evaluation.py"
FAMILIES = "summarize_rlhf/lm/families.py"
POLICY = "trlx/models/policy.py"
SETUP = "trlx/trainer/setup.py"
LAST_BLOCK = "summarize_rlhf/lm/last_block.py"
VALUE = "trlx/models/value_head.py"

# fmt: off
ROWS = [
    # policy, reference, branches
    ("reference shares the trained blocks", POLICY, "self.reference = copy.deepcopy(blocks[self.depth :]).requires_grad_(False)", "self.reference = blocks[self.depth :]", "ppo/test_policy.py::test_reference"),
    ("reference of -1 is the policy", POLICY, "self.reference = copy.deepcopy(model).requires_grad_(False)", "self.reference = model", "ppo/test_policy.py::test_everything_unfrozen_has_a_frozen_copy_as_reference"),
    ("LoRA's reference with its adapter", POLICY, "self.model.disable_adapter() if self.is_adapter else contextlib.nullcontext()", "contextlib.nullcontext()", "ppo/test_policy.py::test_lora_has_the_model_without_adapters_as_reference"),
    ("logits one token late", POLICY, "prompt_lengths[:, None] - 1 + torch.arange", "prompt_lengths[:, None] + torch.arange", "ppo/test_policy.py::test_logprobs_are_those_of_the_plain_model"),
    ("temperature dropped", POLICY, ".float() / temperature", ".float()", "ppo/test_policy.py::test_logprobs_are_those_of_the_plain_model"),
    ("final norm and embeddings train", POLICY, "            model.requires_grad_(False)\n", "", "ppo/test_policy.py::test_only_the_top_blocks_and_the_value_head_train"),
    ("value blocks are the policy's", POLICY, "return copy.deepcopy(blocks[max(len(blocks) - n, 0) :])", "return blocks[max(len(blocks) - n, 0) :]", "ppo/test_policy.py::test_value_blocks"),
    ("checkpointing never fires", POLICY, "                block.training = on  # of the block alone: its dropouts stay in evaluation mode\n", "", "ppo/test_policy_invariants.py::test_gradient_checkpointing_fires_and_changes_nothing"),
    ("dropout acts", POLICY, "        self.eval()  # no dropout, ever: the ratio compares like with like\n", "", "ppo/test_policy_invariants.py::test_dropout_never_acts"),
    ("positions added twice", FAMILIES, 'attention="attn", entry={"wpe": NoPositions})', 'attention="attn")', "ppo/test_policy.py::test_reference"),
    ("OPT projected twice", FAMILIES, ', "project_in": nn.Identity}', "}", "ppo/test_policy.py::test_reference"),
    ("trunk ends with the final norm", BRANCHES, "        if not with_exit:\n", "        if False:\n", "ppo/test_policy.py::test_logprobs_are_those_of_the_plain_model"),
    ("layer types of the lowest blocks", BRANCHES, "layer_types[first : first + len(blocks)]", "layer_types[: len(blocks)]", "ppo/test_policy.py::test_logprobs_are_those_of_the_plain_model"),
    ("logits without the family's capping", BRANCHES, "head(inputs_embeds=states).logits", "head.get_output_embeddings()(states)", "ppo/test_policy.py::test_logprobs_are_those_of_the_plain_model"),
    # the last block's keep_from
    ("keep_from begins one token late", LAST_BLOCK, "self.inner(hidden[:, start:]", "self.inner(hidden[:, start + 1 :]", "lm/test_last_block.py::test_states_and_gradients"),
    ("keep_from's queries one position off", LAST_BLOCK, "(position[start:, None] >= position)", "(position[start:, None] > position)", "lm/test_last_block.py::test_states_and_gradients"),
    ("keep_from's queries see what follows them", LAST_BLOCK, "(position[start:, None] >= position)[None, None]", "(position[start:, None] >= 0 * position)[None, None]", "lm/test_last_block.py::test_states_and_gradients"),
    ("mask's rows taken from the top", LAST_BLOCK, "attention_mask[:, :, -(queries - start) :]", "attention_mask[:, :, : queries - start]", "lm/test_last_block.py::test_states_and_gradients"),
    ("beginning not causal", LAST_BLOCK, "if unmasked > start:", "if False:", "lm/test_last_block.py::test_a_mask_about_the_last_tokens_alone"),
    ("MLP runs for all tokens", LAST_BLOCK, "        start = _keep_from.get()\n", "        start = 0\n", "lm/test_last_block.py::test_the_mlp_of_the_last_block_runs_from_keep_from_on"),
    ("keep_from forgotten in the backward pass", LAST_BLOCK, "functools.partial(_run_keeping, _keep_from.get(), function)", "function", "lm/test_last_block.py::test_states_and_gradients"),
    ("another model's attention replaced", LAST_BLOCK, "AttentionInterface.register(ATTENTION, sdpa_keep_from)", 'AttentionInterface.register(ATTENTION, sdpa_keep_from)\n    AttentionInterface.register("sdpa", sdpa_keep_from)', "lm/test_registries.py::test_registries_are_as_they_were"),
    ("branch in the mode of its making", BRANCHES, "self.module.__dict__ | self.attributes", "self.attributes", "lm/test_branches.py::test_they_follow_the_model"),
    # value function from a reward model
    ("linear head folded", VALUE, "torch.cat((eye, -eye))", "torch.cat((eye, eye))", "ppo/test_value_model.py::test_value_head_alone_starts_linear"),
    ("value blocks from one block below", VALUE, "lowest = len(decoder.blocks) - len(policy.value_blocks)", "lowest = len(decoder.blocks) - len(policy.value_blocks) - 1", "ppo/test_value_model.py::test_value_function_starts_as_the_reward_model"),
    # adapters and precision
    ("PiSSA let through", ADAPTERS, 'if init is False or str(init).lower().startswith(STARTS_ELSEWHERE):', "if init is False:", "ppo/test_lora.py::test_what_a_configuration_tells_is_refused_before_anything_is_loaded"),
    ("adapter that changes the model let through", ADAPTERS, "if not gap <= torch.finfo(model.dtype).eps ** 0.5:", "if False:", "ppo/test_lora.py::test_the_trial_finds_what_no_list_knows"),
    ("reference that trains let through", ADAPTERS, "if reference.requires_grad:", "if False:", "ppo/test_lora.py::test_the_trial_finds_what_no_list_knows"),
    ("adapter never tried", SETUP, "        lora.check_reference(policy)\n", "        pass\n", "ppo/test_lora.py::test_the_trial_finds_what_no_list_knows"),
    ("trained weights in bf16", SETUP, "    hold_trained_weights_in_fp32(model)\n", "", "ppo/test_lora.py::test_no_trained_weight_is_in_bf16"),
    ("value head under autocast", PRECISION, "with torch.autocast(states.device.type, enabled=False):", "if True:", "ppo/test_ppo_precision.py::test_values_are_those_of_an_fp32_head"),
    ("value head in DeepSpeed's bf16", PRECISION, "linear(states.float(), self.weight.float(), None if self.bias is None else self.bias.float())", "linear(states.to(self.weight.dtype), self.weight, self.bias).float()", "ppo/test_ppo_precision.py::test_a_cast_head_still_computes_in_fp32"),
    # what the reference is computed with
    ("reference with dropout", POLICY, "        self.eval()  # no dropout, ever: the ratio compares like with like\n", "        self.eval()\n        self.reference is not None and self.reference.train()\n", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    ("reference at temperature 1", POLICY, "logits = self._logits(self.reference_decoder, states, before, temperature)", "logits = self._logits(self.reference_decoder, states, before, 1.0)", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    ("reference rounded to bf16", POLICY, "            return logprobs_of_labels(logits, responses)", "            return logprobs_of_labels(logits, responses).bfloat16().float()", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    ("reference can be trained", POLICY, "copy.deepcopy(blocks[self.depth :]).requires_grad_(False)", "copy.deepcopy(blocks[self.depth :])", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    ("reference follows the policy", PPO, "        self.collection = None\n\n    def checkpoint", "        self.collection = None\n        self.policy.reference.load_state_dict(self.policy.decoder.blocks[self.policy.depth :].state_dict())\n\n    def keep_or_end", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    # in which mode the policy runs
    ("generates in training mode", PPO, "model = [p.ids for p in prompts], self.bar(\"rollouts\"), policy.causal_lm", "model = [p.ids for p in prompts], self.bar(\"rollouts\"), policy.causal_lm.train()", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
    ("evaluates in training mode", EVALUATION, "responses = generation.sample(policy.causal_lm, config", "responses = generation.sample(policy.causal_lm.train(), config", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
    ("trains with dropout", PPO, "        self.policy.checkpoint_blocks(self.config.train.gradient_checkpointing)\n", "        self.policy.checkpoint_blocks(self.config.train.gradient_checkpointing)\n        self.policy.train()\n", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
    ("decoding keeps gradients", DECODING, "@torch.no_grad()\ndef decode", "def decode", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
    ("collection keeps gradients", PPO, "@torch.no_grad()\ndef logprobs_and_values", "def logprobs_and_values", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
]
