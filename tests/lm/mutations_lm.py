# ruff: noqa: E501  a table, one mutation a line
"""The model, cut, run and sampled: blocks, last block, decoding, weights, summaries."""

BRANCHES = "summarize_rlhf/lm/branches.py"
DISCOVERY = "summarize_rlhf/lm/discovery.py"
FAMILIES = "summarize_rlhf/lm/families.py"
DECODE_BATCH = "summarize_rlhf/lm/decode_batch.py"
DECODING = "summarize_rlhf/lm/decoding.py"
END_OF_RESPONSE = "summarize_rlhf/lm/end_of_response.py"
EVALUATION = "trlx/trainer/evaluation.py"
GENERATE = "summarize_rlhf/lm/summaries.py"
GENERATION = "summarize_rlhf/lm/generation_options.py"
KL = "summarize_rlhf/lm/kl.py"
KV_CACHE = "summarize_rlhf/lm/kv_cache.py"
LAST_BLOCK = "summarize_rlhf/lm/last_block.py"
POLICY = "trlx/models/policy.py"
PPO = "trlx/trainer/ppo.py"
EXPERIENCE = "trlx/trainer/experience.py"
REWARDS = "trlx/trainer/rewards.py"
SAMPLING = "summarize_rlhf/lm/generation.py"
SCORING = "trlx/trainer/rewards.py"
TOKEN_SAMPLER = "summarize_rlhf/lm/token_sampler.py"
WEIGHTS = "summarize_rlhf/lm/weights.py"

# fmt: off
ROWS = [
    # families that no table lists
    ("a cut is not proven", "trlx/models/policy.py", "        self.decoder.prove(self.depth if self.value_blocks is None else self.depth or 0)\n", "", "lm/test_any_family.py::test_a_wrong_cut_is_refused"),
    ("a proof that proves nothing", DISCOVERY, "not ((part - expected).abs() <= bound).all()", "False", "lm/test_any_family.py::test_a_wrong_cut_is_refused"),
    ("what is behind the blocks stays in the trunk", DISCOVERY, "calls[last + 1 :] if maps", "calls[last + 1 :] if False", "lm/test_any_family.py::test_what_is_found_is_what_the_table_of_families_says"),
    ("found positions are added twice", DISCOVERY, "            entry[name] = NoPositions\n", "            pass\n", "lm/test_any_family.py::test_what_is_found_is_what_the_table_of_families_says"),
    ("a proof draws from the run's numbers", DISCOVERY, "generator=stream).to(model.device)", ").to(model.device)", "lm/test_any_family.py::test_a_proof_changes_no_random_number_and_no_mode"),
    ("a proof leaves evaluation mode", DISCOVERY, "        model.train(training)\n", "        pass\n", "lm/test_any_family.py::test_a_proof_changes_no_random_number_and_no_mode"),
    ("an index's names are not looked up", WEIGHTS, "        if shard not in beside:\n", "        if False:\n", "lm/test_weights.py::test_an_index_that_names_what_is_not_there"),
    ("names that no path can have", "summarize_rlhf/lm/adapters.py", "        Path(config.base_model_name_or_path or \"\").exists()", "        pass", "lm/test_adapters.py::test_damaged_adapters_end_in_one_line"),
    ("models that see the future", "summarize_rlhf/lm/weights.py", "    if not (one - other).abs().max() <=", "    if (one - other).abs().max() < 0 and not 1 <=", "lm/test_any_family.py::test_what_sees_the_future_is_no_causal_model"),
    ("decoding of a family is not proven", "summarize_rlhf/lm/decoding.py", "        _PROVEN[model] = _proven(model)\n", "        _PROVEN[model] = True\n", "lm/test_any_family.py::test_each_can_what_the_table_says"),
    ("a window that slides is decoded", FAMILIES, "return window >= tokens or not any(", "return True or not any(", "lm/test_decoding.py::test_what_it_leaves_to_generate"),
    ("a window one too short", FAMILIES, "return window >= tokens or", "return window >= tokens - 1 or", "lm/test_decoding.py::test_a_window_as_long_as_the_text_does_not_slide"),
    ("eager attention takes what is seen for numbers", DECODE_BATCH, "            return seen\n        least", "            pass\n        return seen\n        least", "lm/test_decoding.py::test_eager_attention"),
    ("packing is not proven", "reward_model/pairs.py", "                return False\n    return True", "                pass\n    return True", "lm/test_any_family.py::test_each_can_what_the_table_says"),
    # decoding
    ("row writes at its neighbour's length", KV_CACHE, "self.keys[rows, :, at.lengths]", "self.keys[rows, :, at.lengths.roll(1)]", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("row does not see its last token", DECODE_BATCH, "device=lengths.device) <= lengths", "device=lengths.device) < lengths", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("position one late", DECODE_BATCH, "position_ids=lengths[:, None]", "position_ids=lengths[:, None] + 1", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("first token from the prompts' padding", DECODE_BATCH, "self.positions.lengths[rows] - 1\n", "self.positions.lengths[rows].max() - 1\n", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("random numbers of another step", DECODE_BATCH, "self.uniforms.index_select(1, self.column)[:, 0]", "self.uniforms[:, 0]", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("dropped rows leave their random numbers", DECODE_BATCH, "(x[kept] for x in (self.tokens, self.uniforms, self.responses))", "(self.tokens[kept], self.uniforms[: len(kept)], self.responses[kept])", "lm/test_decoding.py::test_neither_batch_nor_memory_changes_a_token"),
    ("dropped rows leave their keys", KV_CACHE, "self.keys, self.values = self.keys[rows], self.values[rows]", "self.keys, self.values = self.keys[: len(rows)], self.values[: len(rows)]", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("trunk one token late", DECODE_BATCH, "device=hidden.device), at.lengths] = hidden[:, 0]", "device=hidden.device), at.lengths - 1] = hidden[:, 0]", "lm/test_decoding.py::test_trunk_is_that_of_a_forward_pass"),
    ("temperature multiplies", TOKEN_SAMPLER, "logits / self.temperature", "logits * self.temperature", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("shallow copies at each token", DECODE_BATCH, "self.head(inputs_embeds=states[:, None]).logits[:, 0]", "Decoder(self.model).run_head(states[:, None])[:, 0]", "lm/test_branches.py::test_decoded_tokens_make_no_copies"),
    # decode steps that a GPU replays
    ("replayed steps grow", DECODE_BATCH, "self.positions.room if self.cuda_graphs else", "self.positions.room if False else", "lm/test_replay.py::test_a_step_leaves_all_it_reads_where_it_is"),
    ("lengths move elsewhere", DECODE_BATCH, "        lengths.add_(1)\n", "        self.positions.lengths = lengths + 1\n", "lm/test_replay.py::test_a_step_leaves_all_it_reads_where_it_is"),
    ("tokens move elsewhere", DECODE_BATCH, "self.tokens.copy_(self.sample(logits, uniforms, self.column))", "self.tokens = self.sample(logits, uniforms, self.column)", "lm/test_replay.py::test_a_step_leaves_all_it_reads_where_it_is"),
    ("a step depends on a number of the CPU's", DECODE_BATCH, "self.uniforms.index_select(1, self.column)[:, 0]", "self.uniforms[:, self.drawn]", "lm/test_replay.py::test_a_step_is_one_graph_that_serves_all_steps"),
    ("attention asks a context variable in a step", LAST_BLOCK, "    if queries == 1:", "    if False:", "lm/test_replay.py::test_a_step_is_one_graph_that_serves_all_steps"),
    ("a look at each step", DECODE_BATCH, "self.drawn % self.steps_at_once == 0", "True", "lm/test_replay.py::test_rows_are_dropped_in_blocks"),
    ("replayed rows dropped one by one", DECODE_BATCH, "            while -(-count // 2) >= len(left) and count > 1:\n                count = -(-count // 2)\n", "            count = len(left)\n", "lm/test_replay.py::test_rows_are_dropped_in_blocks"),
    ("replayed rows never dropped", DECODE_BATCH, "        if count < len(self.rows):\n", "        if count < len(self.rows) and not self.cuda_graphs:\n", "lm/test_replay.py::test_rows_are_dropped_in_blocks"),
    ("what is drawn behind the end stays", DECODE_BATCH, "Response(ids[b][:n], self.trunk_of(b, n))", "Response(ids[b], self.trunk_of(b, n))", "lm/test_replay.py::test_blocks_of_steps_in_shapes_that_grow"),
    ("trunk behind the end stays", DECODE_BATCH, "Response(ids[b][:n], self.trunk_of(b, n))", "Response(ids[b][:n], self.trunk_of(b, self.drawn))", "lm/test_replay.py::test_blocks_of_steps_in_shapes_that_grow"),
    ("a row is handed over twice", DECODE_BATCH, "if n > 0 and self.rows[b] is not None]", "if n > 0]", "lm/test_replay.py::test_rows_are_dropped_in_blocks"),
    ("prompts read in any shape", DECODE_BATCH, "            if self.cuda_graphs:\n                columns", "            if False:\n                columns", "lm/test_replay.py::test_prompts_are_read_in_few_shapes"),
    ("the captured step is not replayed", "summarize_rlhf/lm/replay.py", "                ) from error\n        self.graph.replay()", "                ) from error\n            return\n        self.graph.replay()", "lm/test_replay.py::test_each_call_makes_one_step"),
    ("a step that cannot be captured", "summarize_rlhf/lm/replay.py", "except RuntimeError as error:", "except KeyError as error:", "lm/test_replay.py::test_each_call_makes_one_step"),
    ("captured without a first run", "summarize_rlhf/lm/replay.py", "if self.calls == 1:", "if self.calls == 0:", "lm/test_replay.py::test_each_call_makes_one_step"),
    ("the end may be drawn one token early", TOKEN_SAMPLER, "step < self.least", "step < self.least - 1", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("rollouts without CUDA graphs", PPO, "                train.cuda_graphs,\n", "", "ppo/test_sampled_responses.py::test_the_switch_for_cuda_graphs_reaches_rollouts_and_evaluation"),
    ("evaluation without CUDA graphs", EVALUATION, "bar, cuda_graphs=graphs)", "bar)", "ppo/test_sampled_responses.py::test_the_switch_for_cuda_graphs_reaches_rollouts_and_evaluation"),
    # families that `generate` decodes
    ("rows that rwkv mixes are batched", SAMPLING, "order[: batch_size if together else 1]", "order[:batch_size]", "lm/test_recurrent.py::test_responses_are_those_of_each_prompt_alone"),
    ("padding that is read is kept", SAMPLING, "if padded or len(prompts[i]) == len(prompts[rows[0]])", "if True", "lm/test_recurrent.py::test_responses_are_those_of_each_prompt_alone"),
    ("nothing but the pad token under the mask", SAMPLING, "logits([others + prompt, [pad_id] * 8 + prompt], 8)", "logits([prompt], 0)", "lm/test_recurrent.py::test_what_reads_padding_is_found_out"),
    ("one-token prompt goes on from the last generation", SAMPLING, "        model(ids, use_cache=False)\n", "        pass\n", "lm/test_recurrent.py::test_responses_are_those_of_each_prompt_alone"),
    ("rwkv rescales its weights in place", WEIGHTS, "config.rescale_every = 0", "pass", "lm/test_recurrent.py::test_ppo_and_summaries"),
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
    # what the reference is computed with
    ("reference with dropout", POLICY, "        self.eval()  # no dropout, ever: the ratio compares like with like\n", "        self.eval()\n        self.reference is not None and self.reference.train()\n", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    ("reference at temperature 1", POLICY, "self._of_responses(self.reference_decoder, states, before, responses, temperature)[0]", "self._of_responses(self.reference_decoder, states, before, responses, 1.0)[0]", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    ("reference rounded to bf16", POLICY, "responses, temperature)[0]\n", "responses, temperature)[0].bfloat16().float()\n", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    ("reference can be trained", POLICY, "copy.deepcopy(blocks[self.depth :]).requires_grad_(False)", "copy.deepcopy(blocks[self.depth :])", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    ("reference follows the policy", PPO, "        self.collection = None\n\n    def checkpoint", "        self.collection = None\n        self.policy.reference.load_state_dict(self.policy.decoder.blocks[self.policy.depth :].state_dict())\n\n    def keep_or_end", "lm/test_formulas_policy.py::test_reference_is_the_initial_model_to_the_end"),
    # in which mode the policy runs
    ("generates in training mode", PPO, "model = [p.ids for p in prompts], self.bar(\"rollouts\"), policy.causal_lm", "model = [p.ids for p in prompts], self.bar(\"rollouts\"), policy.causal_lm.train()", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
    ("evaluates in training mode", EVALUATION, "responses = generation.sample(policy.causal_lm, config", "responses = generation.sample(policy.causal_lm.train(), config", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
    ("trains with dropout", PPO, "        self.policy.checkpoint_blocks(self.config.train.gradient_checkpointing)\n", "        self.policy.checkpoint_blocks(self.config.train.gradient_checkpointing)\n        self.policy.train()\n", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
    ("decoding keeps gradients", DECODING, "@torch.no_grad()\ndef decode", "def decode", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
    ("collection keeps gradients", EXPERIENCE, "@torch.no_grad()\ndef logprobs_and_values", "def logprobs_and_values", "lm/test_formulas_policy.py::test_every_phase_runs_in_evaluation_mode_and_updates_alone_have_gradients"),
    # rollouts
    ("samples not put back in order", DECODING, "responses[rows[i]] = response", "responses[i] = response", "lm/test_decoding.py::test_neither_batch_nor_memory_changes_a_token"),
    # generation options
    ("temperature 0 samples at 1", GENERATION, ' or options.get("temperature") == 0', "", "lm/test_generation_options.py::test_temperature_zero_is_greedy"),
    ("greedy rollouts accepted", GENERATION, "if sampled and is_greedy(each):", "if False:", "lm/test_generation_options.py::test_what_rollouts_and_sweeps_must_not_be"),
    ("top-p above 1 accepted", GENERATION, '(float, {"above": 0, "most": 1})', '(float, {"above": 0})', "lm/test_generation_options.py::test_wrong_options_are_refused_by_name"),
    ("ends outside the vocabulary accepted", GENERATION, "if vocabulary is not None and max(ids) >= vocabulary:", "if False:", "lm/test_generation_options.py::test_an_end_outside_the_vocabulary_is_refused_before_the_weights_are_read"),
    # text
    ("response decoded by itself", END_OF_RESPONSE, "or not both.startswith(before):", "or True:", "lm/test_response_text_families.py::test_a_response_reads_as_it_does_behind_its_prompt"),
    ("prompt cut within a character", END_OF_RESPONSE, 'if before.endswith("\\ufffd") or not', "if not", "lm/test_response_text.py::test_bytes_decode_as_they_did"),
    ("stop sought in the response by itself", END_OF_RESPONSE, "text = text_after(tokenizer, prompt, response[:length])", "text = text_after(tokenizer, [], response[:length])", "lm/test_response_text_families.py::test_a_stop_is_sought_in_the_text_as_it_reads"),
    ("trainer decodes without the prompt", REWARDS, "cut_at_stop(tokenizer, prompt.ids, response,", "cut_at_stop(tokenizer, [], response,", "lm/test_response_text_families.py::test_samples_outputs_and_logs_read_as_text"),
    # summaries
    ("summaries written in training mode", GENERATE, "    model.eval()\n", "", "lm/test_formulas_policy.py::test_summaries_are_written_in_evaluation_mode"),
    ("summaries leave the model in evaluation mode", GENERATE, "    model.train(was_training)\n", "", "lm/test_formulas_policy.py::test_summaries_are_written_in_evaluation_mode"),
    ("summaries ignore the temperature", GENERATE, "\"temperature\": temperature}", "\"temperature\": 1.0}", "lm/test_formulas_policy.py::test_summaries_follow_seed_and_temperature"),
    ("summaries ignore the seed", GENERATE, "generation.uniforms(len(prompts), config, seed)", "generation.uniforms(len(prompts), config, 0)", "lm/test_formulas_policy.py::test_summaries_follow_seed_and_temperature"),
    ("summaries from the fifty likeliest", GENERATE, "\"temperature\": temperature}", "\"temperature\": temperature, \"top_k\": 50}", "lm/test_formulas_policy.py::test_summaries_are_sampled_from_the_whole_distribution_at_a_temperature"),
    ("summaries from a nucleus", GENERATE, "\"temperature\": temperature}", "\"temperature\": temperature, \"top_p\": 0.9}", "lm/test_formulas_policy.py::test_summaries_are_sampled_from_the_whole_distribution_at_a_temperature"),
    # intervals and divergence
    ("KL one position late", KL, "len(prompts[i]) - 1 - first", "len(prompts[i]) - first", "lm/test_kl.py::test_against_a_slow_sum"),
    ("KL: ratio of all tokens", KL, ".gather(1, tokens).sum()", ".sum()", "lm/test_kl.py::test_the_ratio_of_the_tokens_chosen_against_a_slow_sum"),
    ("KL: NaN passes", "summarize_rlhf/lm/test_set.py", "if not all(math.isfinite(figure)", "if False and not all(math.isfinite(figure)", "lm/test_kl.py::test_a_kl_that_is_no_number_is_told"),
    ("KL: ratio reversed", KL, "chosen[0] - chosen[1]", "chosen[1] - chosen[0]", "lm/test_kl.py::test_the_ratio_of_the_tokens_chosen_against_a_slow_sum"),
    ("KL of the reference to the policy", KL, "(logprobs - reference)", "(reference - logprobs)", "lm/test_kl.py::test_two_tokens_by_hand"),
    ("text: reward of BOS shifts all", SCORING, "first = len(prefix_ids(tokenizer))", "first = 0", "lm/test_response_text.py::test_rewards_per_token_of_the_text"),
    ("text: reward of the tokenizer's own blank shifts all", SCORING, "        first += 1\n", "        pass\n", "lm/test_response_text.py::test_rewards_per_token_of_the_text"),
    ("pieces of no token, where the vocabulary is large", "summarize_rlhf/lm/over_vocabulary.py", "max(1, LOGITS_AT_ONCE // model.config.vocab_size)", "LOGITS_AT_ONCE // model.config.vocab_size", "lm/test_over_vocabulary.py::test_all_processes_make_equally_many_pieces"),
    ("a process makes pieces of its own tokens alone", "summarize_rlhf/lm/over_vocabulary.py", "max_over_processes(len(targets), targets.device) if is_spread(model) else len(targets)", "len(targets)", "lm/test_over_vocabulary.py::test_all_processes_make_equally_many_pieces"),
    ("pieces: the rest falls to the others", "summarize_rlhf/lm/over_vocabulary.py", "math.ceil(most / step)", "most // step", "lm/test_over_vocabulary.py::test_all_processes_make_equally_many_pieces"),
]
