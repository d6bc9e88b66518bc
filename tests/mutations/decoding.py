# ruff: noqa: E501  a table, one mutation a line
"""Decoding: from logits to responses."""

DECODING = "summarize_rlhf/lm/decoding.py"
KV_CACHE = "summarize_rlhf/lm/kv_cache.py"
SAMPLING = "summarize_rlhf/lm/generation.py"
WEIGHTS = "summarize_rlhf/lm/weights.py"

# fmt: off
ROWS = [
    # decoding
    ("row writes at its neighbour's length", KV_CACHE, "self.keys[rows, :, cache.lengths]", "self.keys[rows, :, cache.lengths.roll(1)]", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("row does not see its last token", DECODING, "device=tokens.device) <= lengths", "device=tokens.device) < lengths", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("position one late", DECODING, "position_ids=lengths[:, None]", "position_ids=lengths[:, None] + 1", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("first token from the prompts' padding", DECODING, "self.cache.lengths[rows] - 1]", "self.cache.lengths[rows].max() - 1]", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("random numbers of another step", DECODING, "self.uniforms[:, step], step)", "self.uniforms[:, 0], step)", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("dropped rows leave their random numbers", DECODING, "(x[rows] for x in (self.uniforms, self.responses))", "(self.uniforms[: len(rows)], self.responses[rows])", "lm/test_decoding.py::test_neither_batch_nor_memory_changes_a_token"),
    ("dropped rows leave their keys", KV_CACHE, "self.keys, self.values = self.keys[rows], self.values[rows]", "self.keys, self.values = self.keys[: len(rows)], self.values[: len(rows)]", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("trunk one token late", DECODING, "device=hidden.device), self.cache.lengths] = hidden[:, 0]", "device=hidden.device), self.cache.lengths - 1] = hidden[:, 0]", "lm/test_decoding.py::test_trunk_is_that_of_a_forward_pass"),
    ("temperature multiplies", DECODING, "logits / self.temperature", "logits * self.temperature", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("shallow copies at each token", "summarize_rlhf/lm/branches.py", 'if "head" not in self._branches:', "if True:", "lm/test_branches.py::test_decoded_tokens_make_no_copies"),
    # families that `generate` decodes
    ("rows that rwkv mixes are batched", SAMPLING, "order[: batch_size if together else 1]", "order[:batch_size]", "lm/test_recurrent.py::test_responses_are_those_of_each_prompt_alone"),
    ("padding that is read is kept", SAMPLING, "if padded or len(prompts[i]) == len(prompts[rows[0]])", "if True", "lm/test_recurrent.py::test_responses_are_those_of_each_prompt_alone"),
    ("nothing but the pad token under the mask", SAMPLING, "logits([others + prompt, [pad_id] * 8 + prompt], 8)", "logits([prompt], 0)", "lm/test_recurrent.py::test_what_reads_padding_is_found_out"),
    ("one-token prompt goes on from the last generation", SAMPLING, "        model(ids, use_cache=False)\n", "        pass\n", "lm/test_recurrent.py::test_responses_are_those_of_each_prompt_alone"),
    ("rwkv rescales its weights in place", WEIGHTS, "config.rescale_every = 0", "pass", "lm/test_recurrent.py::test_ppo_and_summaries"),
]
