# ruff: noqa: E501  a table, one mutation a line
"""The policy: its blocks, value head and reference."""

ADAPTERS = "trlx/models/lora.py"
BRANCHES = "summarize_rlhf/lm/branches.py"
FAMILIES = "summarize_rlhf/lm/families.py"
POLICY = "trlx/models/policy.py"
PRECISION = "summarize_rlhf/lm/precision.py"
SETUP = "trlx/trainer/setup.py"
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
    ("checkpointing never fires", POLICY, "            block.training = on  # of the block alone: its dropouts stay in evaluation mode\n", "", "ppo/test_policy_invariants.py::test_gradient_checkpointing_fires_and_changes_nothing"),
    ("dropout acts", POLICY, "        self.eval()  # no dropout, ever: the ratio compares like with like\n", "", "ppo/test_policy_invariants.py::test_dropout_never_acts"),
    ("positions added twice", FAMILIES, 'attention="attn", entry={"wpe": NoPositions})', 'attention="attn")', "ppo/test_policy.py::test_reference"),
    ("OPT projected twice", FAMILIES, ', "project_in": nn.Identity}', "}", "ppo/test_policy.py::test_reference"),
    ("trunk ends with the final norm", BRANCHES, "        if not with_exit:\n", "        if False:\n", "ppo/test_policy.py::test_logprobs_are_those_of_the_plain_model"),
    ("layer types of the lowest blocks", BRANCHES, "layer_types[first : first + len(blocks)]", "layer_types[: len(blocks)]", "ppo/test_policy.py::test_logprobs_are_those_of_the_plain_model"),
    ("logits without the family's capping", BRANCHES, "head(inputs_embeds=states).logits", "head.get_output_embeddings()(states)", "ppo/test_policy.py::test_logprobs_are_those_of_the_plain_model"),
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
]
