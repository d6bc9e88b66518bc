# ruff: noqa: E501  a table, one mutation a line
"""GPU paths on fake devices: tensors on the wrong device, of the wrong dtype, and waits for the GPU."""

DECODING = "summarize_rlhf/lm/decoding.py"

# fmt: off
ROWS = [
    ("decode step waits for the GPU", DECODING, "        self.cache.width = max(len(self.prompts[row]) for row in self.rows) + self.steps + 1", "        self.cache.width = int(lengths.max()) + 1", "scale/test_fake_devices.py::test_a_decode_step_waits_for_nothing"),
    ("lengths left on the CPU", DECODING, "lengths = torch.tensor([len(p) for p in prompts], device=device)", "lengths = torch.tensor([len(p) for p in prompts])", "scale/test_fake_devices.py::test_a_decode_step_waits_for_nothing"),
    ("positions of responses on the CPU", "trlx/models/policy.py", "torch.arange(responses.shape[1], device=tokens.device)", "torch.arange(responses.shape[1])", "scale/test_fake_devices.py::test_a_training_step_stays_on_the_gpu_and_what_trains_in_fp32"),
    ("mask of packed pairs on the CPU", "reward_model/pairs.py", "place = torch.arange(width, device=lengths.device)\n    in_rejected", "place = torch.arange(width)\n    in_rejected", "scale/test_fake_devices.py::test_a_training_step_stays_on_the_gpu_and_what_trains_in_fp32"),
    ("scores in bf16", "summarize_rlhf/lm/precision.py", "linear(states.float(), self.weight.float(), None if self.bias is None else self.bias.float())", "linear(states.float(), self.weight.float(), None if self.bias is None else self.bias.float()).to(states.dtype)", "scale/test_fake_devices.py::test_the_reward_model_scores_on_the_gpu_in_fp32"),
    ("cache one column short", DECODING, "for row in self.rows) + self.steps + 1  #", "for row in self.rows) + self.steps  #", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
]
