# ruff: noqa: E501  a table, one mutation a line
"""Does each test fail when the code is wrong? Applies one named mutation of trlx/ at a time and runs its test.

    python tests/mutate.py                  all of them, a table, exit code 0 if every test went red
    python tests/mutate.py arithmetic       those whose test is in tests/test_trlx_arithmetic.py
    python tests/mutate.py fast             some of each kind, as the test suite does

Each mutation works on a copy of the repository; the working tree is not touched. One process loads the libraries
and forks for each mutation.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Mutation(NamedTuple):
    """In `file`, `before` (found there exactly once) becomes `after`; then `test` must fail."""

    name: str
    file: str
    before: str
    after: str
    test: str


MODELING, PPO, POLICY = "trlx/utils/modeling.py", "trlx/models/modeling_ppo.py", "trlx/models/policy.py"
BRANCHES = "trlx/models/branches.py"
ROLLOUTS, PROMPTS = "trlx/pipeline/rollouts.py", "trlx/pipeline/offline_pipeline.py"
GENERATION, EXPERIENCE = "trlx/trainer/generation.py", "trlx/trainer/experience.py"
OPTIMISATION, CHECKPOINT = "trlx/trainer/optimisation.py", "trlx/trainer/checkpoint.py"
EVALUATION, SCORING, LOOP = "trlx/trainer/evaluation.py", "trlx/trainer/scoring.py", "trlx/trainer/ppo.py"
VALUE, SAMPLING = "trlx/models/value_head.py", "trlx/models/sampling.py"
TAIL, DECODING = "trlx/models/tail.py", "trlx/models/decoding.py"
ARGUMENTS = "trlx/data/arguments.py"
ADAPTERS, SETUP = "trlx/models/adapters.py", "trlx/trainer/setup.py"

# fmt: off
MUTATIONS = [Mutation(*row) for row in [
    # log-probabilities, entropy, whitening
    ("log-probability's sign", MODELING, "return -flat.view", "return flat.view", "arithmetic::test_logprobs_by_hand"),
    ("log-probabilities in half precision", MODELING, "cross_entropy(logits.flatten(0, -2).float()", "cross_entropy(logits.flatten(0, -2)", "arithmetic::test_logprobs_are_computed_in_fp32"),
    ("entropy's sign", MODELING, "return -(logprobs.exp()", "return (logprobs.exp()", "arithmetic::test_entropy_by_hand"),
    ("mean over padding too", MODELING, "return (xs * mask).sum() / mask.sum().clamp(min=1)", "return (xs * mask).mean()", "arithmetic::test_masked_mean_ignores_what_is_masked"),
    ("whitening over padding", MODELING, "get_global_statistics(xs, mask, distributed)", "get_global_statistics(xs, None, distributed)", "arithmetic::test_whitening_against_numpy"),
    ("variance in one pass", MODELING, "(((xs - mean) ** 2) * mask).sum()", "(xs**2 * mask).sum() - count * mean**2", "arithmetic::test_global_statistics_keep_their_digits_far_from_zero"),
    ("explained variance upside down", MODELING, "1 - error / total.clamp(min=1e-8)", "1 - total / error.clamp(min=1e-8)", "arithmetic::test_explained_variance_by_hand"),
    ("running variance biased", MODELING, "self.var = combined / max(total - 1, 1)", "self.var = combined / total", "arithmetic::test_running_moments_equal_numpy_over_all_data"),
    # GAE
    ("GAE without mask", MODELING, "rewards, values = rewards * mask, values * mask", "", "arithmetic::test_gae_against_its_definition"),
    ("value aligned one late", MODELING, "gamma * next_value - values[:, t]", "gamma * values[:, t] - values[:, t]", "arithmetic::test_gae_by_hand"),
    ("GAE forgets lambda", MODELING, "delta + gamma * lam * next_advantage", "delta + gamma * next_advantage", "arithmetic::test_gae_by_hand"),
    ("GAE forgets gamma", MODELING, "delta + gamma * lam * next_advantage", "delta + lam * next_advantage", "arithmetic::test_gae_by_hand"),
    ("returns without values", MODELING, "return advantages, advantages + values", "return advantages, advantages", "arithmetic::test_gae_by_hand"),
    # rewards
    ("KL's sign", MODELING, "rewards = -kl_coef * (logprobs - ref_logprobs)", "rewards = kl_coef * (logprobs - ref_logprobs)", "arithmetic::test_rewards_by_hand"),
    ("KL paid for padding", MODELING, "(logprobs - ref_logprobs) * mask\n", "(logprobs - ref_logprobs)\n", "arithmetic::test_rewards_against_a_loop"),
    ("score one slot early", MODELING, "mask.long().sum(1, keepdim=True) - 1", "(mask.long().sum(1, keepdim=True) - 2).clamp(min=0)", "arithmetic::test_rewards_by_hand"),
    ("score one slot late", MODELING, "mask.long().sum(1, keepdim=True) - 1", "mask.long().sum(1, keepdim=True).clamp(max=mask.shape[1] - 1)", "arithmetic::test_rewards_by_hand"),
    ("dense rewards for padding", MODELING, "return rewards + scores * mask", "return rewards + scores", "arithmetic::test_rewards_against_a_loop"),
    # loss
    ("policy clip dropped", PPO, "ratio.clamp(1 - self.cliprange, 1 + self.cliprange)", "ratio", "arithmetic::test_policy_loss_by_hand"),
    ("min for max in the policy loss", PPO, "(torch.max(unclipped, clipped) * mask)", "(torch.min(unclipped, clipped) * mask)", "arithmetic::test_policy_loss_by_hand"),
    ("advantage's sign", PPO, "unclipped = -advantages * ratio", "unclipped = advantages * ratio", "arithmetic::test_policy_loss_by_hand"),
    ("ratio upside down", PPO, "log_ratio = (logprobs - old_logprobs) * mask", "log_ratio = (old_logprobs - logprobs) * mask", "arithmetic::test_policy_loss_by_hand"),
    ("policy loss of padding", PPO, "(torch.max(unclipped, clipped) * mask)", "(torch.max(unclipped, clipped))", "arithmetic::test_loss_ignores_padding"),
    ("value clip dropped", PPO, "(values - old_values).clamp(-self.cliprange_value, self.cliprange_value)", "(values - old_values)", "arithmetic::test_value_loss_by_hand"),
    ("min for max in the value loss", PPO, "torch.max(value_errors, clipped_errors)", "torch.min(value_errors, clipped_errors)", "arithmetic::test_value_loss_by_hand"),
    ("value loss without half", PPO, "value_loss = 0.5 * ", "value_loss = ", "arithmetic::test_value_loss_by_hand"),
    ("vf_coef dropped", PPO, "policy_loss + self.vf_coef * value_loss", "policy_loss + value_loss", "arithmetic::test_value_loss_by_hand"),
    ("n ignored", PPO, "n = mask.sum().clamp(min=1) if n is None else n", "n = mask.sum().clamp(min=1)", "arithmetic::test_losses_of_parts_average_to_the_loss_of_the_whole"),
    # KL controllers
    ("proportional error not clipped", PPO, "min(max(current / self.target - 1, -0.2), 0.2)", "current / self.target - 1", "arithmetic::test_adaptive_controller_by_hand"),
    ("controller steers away", PPO, "1 + error * n_steps", "1 - error * n_steps", "arithmetic::test_adaptive_controller_settles_where_the_kl_is_on_target"),
    # policy, reference, branches
    ("reference shares the trained blocks", POLICY, "self.reference = copy.deepcopy(blocks[self.depth :]).requires_grad_(False)", "self.reference = blocks[self.depth :]", "policy::test_reference"),
    ("reference of -1 is the policy", POLICY, "self.reference = copy.deepcopy(model).requires_grad_(False)", "self.reference = model", "policy::test_everything_unfrozen_has_a_frozen_copy_as_reference"),
    ("LoRA's reference with its adapter", POLICY, "self.model.disable_adapter() if self.is_adapter else contextlib.nullcontext()", "contextlib.nullcontext()", "policy::test_lora_has_the_model_without_adapters_as_reference"),
    ("PiSSA let through", ADAPTERS, 'if init is False or str(init).lower().startswith(STARTS_ELSEWHERE):', "if init is False:", "adapters::test_what_a_configuration_tells_is_refused_before_anything_is_loaded"),
    ("adapter that changes the model let through", ADAPTERS, "if not gap <= torch.finfo(model.dtype).eps ** 0.5:", "if False:", "adapters::test_the_trial_finds_what_no_list_knows"),
    ("reference that trains let through", ADAPTERS, "if reference.requires_grad:", "if False:", "adapters::test_the_trial_finds_what_no_list_knows"),
    ("adapter never tried", SETUP, "        adapters.check_reference(policy)\n", "        pass\n", "adapters::test_the_trial_finds_what_no_list_knows"),
    ("trained weights in bf16", SETUP, "    hold_trained_weights_in_fp32(model)\n", "", "adapters::test_no_trained_weight_is_in_bf16"),
    ("value head under autocast", VALUE, "with torch.autocast(states.device.type, enabled=False):", "if True:", "precision::test_values_are_those_of_an_fp32_head"),
    ("value head in DeepSpeed's bf16", VALUE, "linear(states.float(), self.weight.float(), None if self.bias is None else self.bias.float())", "linear(states.to(self.weight.dtype), self.weight, self.bias).float()", "precision::test_a_cast_head_still_computes_in_fp32"),
    ("logits one token late", POLICY, "prompt_lengths[:, None] - 1 + torch.arange", "prompt_lengths[:, None] + torch.arange", "policy::test_logprobs_are_those_of_the_plain_model"),
    ("temperature dropped", POLICY, ".float() / temperature", ".float()", "policy::test_logprobs_are_those_of_the_plain_model"),
    ("final norm and embeddings train", POLICY, "            model.requires_grad_(False)\n", "", "policy::test_only_the_top_blocks_and_the_value_head_train"),
    ("value blocks are the policy's", POLICY, "return copy.deepcopy(blocks[max(len(blocks) - n, 0) :])", "return blocks[max(len(blocks) - n, 0) :]", "policy::test_value_blocks"),
    ("checkpointing never fires", POLICY, "                block.training = on  # of the block alone: its dropouts stay in evaluation mode\n", "", "policy::test_gradient_checkpointing_fires_and_changes_nothing"),
    ("dropout acts", POLICY, "        self.eval()  # no dropout, ever: the ratio compares like with like\n", "", "policy::test_dropout_never_acts"),
    ("positions added twice", BRANCHES, 'attention="attn", entry={"wpe": _NoPositions})', 'attention="attn")', "policy::test_reference"),
    ("OPT projected twice", BRANCHES, ', "project_in": nn.Identity}', "}", "policy::test_reference"),
    ("trunk ends with the final norm", BRANCHES, "start=0, parts={name: nn.Identity() for name in self.family.exit}", "start=0, parts={}", "policy::test_logprobs_are_those_of_the_plain_model"),
    ("layer types of the lowest blocks", BRANCHES, "layer_types[start : start + len(blocks)]", "layer_types[: len(blocks)]", "policy::test_logprobs_are_those_of_the_plain_model"),
    ("logits without the family's capping", BRANCHES, "(inputs_embeds=states).logits", ".get_output_embeddings()(states)", "policy::test_logprobs_are_those_of_the_plain_model"),
    # arguments
    ("one text taken for a list of letters", ARGUMENTS, "isinstance(prompts, str | bytes |", "isinstance(prompts, bytes |", "arguments::test_prompts_are_refused_by_name"),
    ("empty stop sequence let through", ARGUMENTS, "if not all(stops):", "if False:", "arguments::test_other_arguments_are_refused_by_name"),
    # the last block's tail
    ("tail begins one token late", TAIL, "self.mlp(hidden[:, self.start :]", "self.mlp(hidden[:, self.start + 1 :]", "tail::test_states_and_gradients"),
    ("tail's queries one position off", TAIL, "(position[start:, None] >= position)", "(position[start:, None] > position)", "tail::test_states_and_gradients"),
    ("tail's queries see what follows them", TAIL, "(position[start:, None] >= position)[None, None]", "(position[start:, None] >= 0 * position)[None, None]", "tail::test_states_and_gradients"),
    ("mask's rows taken from the top", TAIL, "attention_mask[:, :, -(queries - start) :]", "attention_mask[:, :, : queries - start]", "tail::test_states_and_gradients"),
    ("beginning not causal", TAIL, "if unmasked > start:", "if False:", "tail::test_a_mask_about_the_tail_alone"),
    ("MLP runs for all tokens", TAIL, "_TailMLP(block.get_submodule(mlp), start)", "_TailMLP(block.get_submodule(mlp), 0)", "tail::test_the_mlp_of_the_last_block_runs_for_the_tail_alone"),
    # decoding
    ("row writes at its neighbour's length", DECODING, "self.keys[rows, :, group.lengths]", "self.keys[rows, :, group.lengths.roll(1)]", "decoding::test_tokens_are_those_of_the_slow_way"),
    ("row does not see its last token", DECODING, "device=tokens.device) <= self.lengths", "device=tokens.device) < self.lengths", "decoding::test_tokens_are_those_of_the_slow_way"),
    ("position one late", DECODING, "position_ids=self.lengths[:, None]", "position_ids=self.lengths[:, None] + 1", "decoding::test_tokens_are_those_of_the_slow_way"),
    ("first token from the prompts' padding", DECODING, "self.lengths[rows] - 1]", "self.lengths[rows].max() - 1]", "decoding::test_tokens_are_those_of_the_slow_way"),
    ("random numbers of another step", DECODING, "self.noise[:, step], step)", "self.noise[:, 0], step)", "decoding::test_tokens_are_those_of_the_slow_way"),
    ("dropped rows leave their random numbers", DECODING, "(x[rows] for x in (self.lengths, self.noise, self.responses))", "(self.lengths[rows], self.noise[: len(rows)], self.responses[rows])", "decoding::test_neither_batch_nor_memory_changes_a_token"),
    ("dropped rows leave their keys", DECODING, "self.keys, self.values = self.keys[rows], self.values[rows]", "self.keys, self.values = self.keys[: len(rows)], self.values[: len(rows)]", "decoding::test_tokens_are_those_of_the_slow_way"),
    ("trunk one token late", DECODING, "device=hidden.device), self.lengths] = hidden[:, 0]", "device=hidden.device), self.lengths - 1] = hidden[:, 0]", "decoding::test_trunk_is_that_of_a_forward_pass"),
    ("temperature multiplies", DECODING, "logits / self.temperature", "logits * self.temperature", "decoding::test_tokens_are_those_of_the_slow_way"),
    # rollouts
    ("mask by comparing with pad", ROLLOUTS, "mask=(torch.arange(int(lengths.max()))[None] < lengths[:, None]).float()", "mask=(pad(responses, torch.long) != 0).float()", "rollouts::test_batch_by_hand"),
    ("mask shifted by one", ROLLOUTS, "< lengths[:, None]).float()", "< lengths[:, None] - 1).float()", "rollouts::test_batch_by_hand"),
    ("EOS dropped", SAMPLING, "return response[: stop + 1]", "return response[:stop]", "rollouts::test_up_to_end"),
    ("responses decoded and encoded", EXPERIENCE, "Episode(prompt.ids, response, prompt.text", "Episode(prompt.ids, self.tokenizer(text).input_ids or response, prompt.text", "rollouts::test_ids_sampled_are_ids_stored_and_trained"),
    ("checkpoint's generation_config leaks", SAMPLING, "    model.generation_config = GenerationConfig()\n", "", "rollouts::test_checkpoints_own_generation_config_does_not_leak"),
    ("top-k of 50 by default", GENERATION, '"top_k": 0,', '"top_k": 50,', "rollouts::test_sampled_distribution_is_the_trained_one"),
    ("samples not put back in order", DECODING, "responses[rows[i]] = response", "responses[i] = response", "decoding::test_neither_batch_nor_memory_changes_a_token"),
    ("stop sequence trained past its end", GENERATION, "return response[:length], text", "return response, text", "rollouts::test_cut_at_stop"),
    ("every round in the same order", PROMPTS, "manual_seed(self.seed + round_)", "manual_seed(self.seed)", "rollouts::test_cursor_goes_through_every_prompt_each_round_in_another_order"),
    ("dictionary prompts eaten", PROMPTS, "else dict(row) for row in prompts", "else row for row in prompts", "rollouts::test_pipeline_takes_strings_and_dictionaries_and_leaves_them_alone"),
    ("last rollouts never trained", ROLLOUTS, "for step in range(steps):", "for step in range(len(lengths) // batch_size):", "rollouts::test_minibatches_hold_every_rollout_once"),
    ("KL estimator of the other direction", EXPERIENCE, "(-log_ratio).exp() - 1 + log_ratio", "log_ratio.exp() - 1 - log_ratio", "rollouts::test_statistics_by_hand"),
    # trainer
    ("accumulation summed instead of averaged", OPTIMISATION, "/ (len(parts) * self.accelerator.num_processes)", "/ (len(parts) ** 2 * self.accelerator.num_processes)", "train::test_update_is_the_same_under_any_split"),
    ("mean per micro-batch", OPTIMISATION, "*old, batch.mask, n)", "*old, batch.mask)", "train::test_update_is_the_same_under_any_split"),
    ("stand-in is trained", OPTIMISATION, "mask=torch.zeros_like(batch.mask)", "mask=batch.mask", "train::test_update_is_the_same_under_any_split"),
    ("statistics averaged over micro-batches", OPTIMISATION, "share = batch.mask.sum() / n", "share = 1.0", "train::test_update_is_the_same_under_any_split"),
    ("rollouts at another temperature than training", OPTIMISATION, "*rows_of, self.temperature, trunk", "*rows_of, 2.0, trunk", "train::test_ratio_is_one_on_the_first_minibatch"),
    ("zero spread divides", EXPERIENCE, ".get(self.method.scale_reward) or 1.0", ".get(self.method.scale_reward, 1.0)", "train::test_scores_without_spread_are_left_alone"),
    ("divided before clipped", EXPERIENCE, "return totals, [row / spread for row in clipped]", "return totals, [(row / spread).clamp(-bound, bound) for row in scores]", "scaling::test_scores_are_clipped_then_divided_as_published"),
    ("moments of the scores as they came", EXPERIENCE, "self.moments.update(clipped_totals)", "self.moments.update(totals)", "scaling::test_scores_are_clipped_then_divided_as_published"),
    ("clipped scores logged as the reward", EXPERIENCE, "return totals, [row / spread for row in clipped]", "return clipped_totals, [row / spread for row in clipped]", "scaling::test_the_logged_mean_is_of_the_scores_as_they_came"),
    ("a reward per token clipped by its sum", EXPERIENCE, "clipped = [row.clamp(-bound, bound) for row in scores]", "clipped = [row * (row.sum().clamp(-bound, bound) / row.sum()) for row in scores]", "scaling::test_each_token_of_a_dense_reward_is_clipped"),
    ("ref's spread follows the latest collection", EXPERIENCE, "if self.ref_std is None:", "if True:", "scaling::test_scores_are_clipped_then_divided_as_published"),
    ("KL per token handed to the controller", LOOP, 'checkpoint.Collection(rollouts, stats["policy/kl"])', 'checkpoint.Collection(rollouts, stats["policy/kl_per_token"])', "scaling::test_the_controller_hears_nats_an_episode"),
    ("controller counts in batches", LOOP, "self.kl_controller.update(self.collection.kl, self.method.num_rollouts)", "self.kl_controller.update(self.collection.kl, self.config.train.batch_size)", "scaling::test_the_controller_hears_nats_an_episode"),
    ("evaluation draws from training's numbers", EVALUATION, "with torch.random.fork_rng(devices), ", "with ", "train::test_evaluation_leaves_training_as_it_is"),
    ("worst policy kept", EVALUATION, "reward > self.best_reward", "reward < -self.best_reward", "train::test_best_checkpoint_is_the_best_evaluated"),
    ("NaN rewards accepted", SCORING, "if not torch.isfinite(row).all():", "if False:", "train::test_bad_rewards_are_refused_by_name"),
    ("resume forgets the prompts' order", CHECKPOINT, '        t.cursor.load_state_dict(state["cursor"])\n', "", "train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the KL coefficient", CHECKPOINT, '        t.kl_controller.value = state["kl_coef"]\n', "", "train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the moments", CHECKPOINT, '        t.moments.load_state_dict(state["moments"])\n', "", "train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the schedule", CHECKPOINT, '        t.scheduler.load_state_dict(state["scheduler"])\n', "", "train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume runs finished collections again", CHECKPOINT, '("step", "iteration", ', '("step", ', "train::test_resumed_run_is_the_uninterrupted_one"),
    ("resume forgets the best reward", CHECKPOINT, '"best_reward", ', "", "train::test_resumed_run_is_the_uninterrupted_one"),
    ("KL coefficient never updated", LOOP, "self.kl_controller.update(self.collection.kl, self.method.num_rollouts)", "pass", "train::test_adaptive_kl_moves_once_a_collection"),
    ("rewards beyond the last token lost", SCORING, "laid.index_add(0, places.clamp(min=0, max=length - 1), row)", "torch.cat((row, laid))[:length]", "train::test_dense_rewards_may_be_counted_by_the_text"),
    # value function from a reward model
    ("linear head folded", VALUE, "torch.cat((eye, -eye))", "torch.cat((eye, eye))", "surface::test_value_head_alone_starts_linear"),
    ("value blocks from one block below", VALUE, "lowest = len(decoder.blocks) - len(policy.value_blocks)", "lowest = len(decoder.blocks) - len(policy.value_blocks) - 1", "surface::test_value_function_starts_as_the_reward_model"),
]]
# fmt: on
FAST = {
    "whitening over padding",
    "GAE without mask",
    "value aligned one late",
    "KL's sign",
    "score one slot early",
    "policy clip dropped",
    "min for max in the policy loss",
    "reference shares the trained blocks",
    "mask shifted by one",
    "EOS dropped",
    "accumulation summed instead of averaged",
}


def run_test(tree: Path, test: str) -> int:
    """pytest's exit code for one test in `tree`: 0 green, 1 red."""
    file, _, name = test.partition("::")
    process = os.fork()
    if process == 0:
        code = 99
        try:
            os.chdir(tree)
            sys.path[:0] = [str(tree)]
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            import pytest

            arguments = ["-x", "-q", "-p", "no:cacheprovider", "-k", name or "test"]
            code = pytest.main([*arguments, f"tests/test_trlx_{file}.py"])
        finally:
            os._exit(int(code))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def copy_tree(folder: Path) -> Path:
    """The parts of the repository that the tests of trlx/ use."""
    for name in ("trlx", "summarize_rlhf", "reward_model", "docs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def check(mutation: Mutation) -> str | None:
    """None if the mutation turns its test red, else what happened instead."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        path = tree / mutation.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutation.before) != 1:
            return f"the text to change stands {text.count(mutation.before)} times in {mutation.file}"
        path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
        code = run_test(tree, mutation.test)
    return {0: "GREEN: the test does not notice", 1: None}.get(code, f"no result (pytest's exit code {code})")


def main() -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.dont_write_bytecode = True
    import accelerate  # noqa: F401  loaded once, before the forks
    import deepspeed  # noqa: F401
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    which = sys.argv[1:]
    chosen = [m for m in MUTATIONS if not which or m.test.partition("::")[0] in which]
    if which == ["fast"]:
        chosen = [m for m in MUTATIONS if m.name in FAST]
    failures = 0
    for file in sorted({m.test.partition("::")[0] for m in chosen if which != ["fast"]}):
        with tempfile.TemporaryDirectory() as folder:
            if run_test(copy_tree(Path(folder)), file) != 0:
                print(f"tests/test_trlx_{file}.py fails without any mutation")
                return 1
    for mutation in chosen:
        start = time.time()
        problem = check(mutation)
        failures += problem is not None
        seconds = f"{time.time() - start:4.1f} s"
        print(f"{'red  ' if problem is None else 'WRONG'} {seconds}  {mutation.name:48} {mutation.test}", flush=True)
        if problem:
            print(f"      {problem}")
    print(f"{len(chosen) - failures} of {len(chosen)} mutations turn their test red")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
