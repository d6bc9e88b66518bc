# ruff: noqa: E501  a table, one mutation a line
"""GPU paths on fake devices, the planner and the check that asks it, and what is sent between processes."""

DECODE_BATCH = "summarize_rlhf/lm/decode_batch.py"
FOOTPRINT = "summarize_rlhf/lm/footprint.py"
MEASURING = "summarize_rlhf/plan/measuring.py"
ADVICE = "summarize_rlhf/plan/advice.py"
CHECK = "summarize_rlhf/lm/memory_check.py"
TRAFFIC = "benchmarks/traffic.py"
TWO_HOSTS = "benchmarks/two_hosts.py"
TABLES = "benchmarks/scale_tables.py"

# fmt: off
ROWS = [
    ("decode step waits for the GPU", DECODE_BATCH, "else self.longest + self.drawn\n", "else int(self.positions.lengths.max()) + 1\n", "scale/test_fake_devices.py::test_a_decode_step_waits_for_nothing"),
    ("drawing waits for the GPU", DECODE_BATCH, "self.uniforms.index_select(1, self.column)[:, 0]", "self.uniforms[:, int(self.column)]", "scale/test_fake_devices.py::test_a_decode_step_waits_for_nothing"),
    ("a step looks which rows are finished", DECODE_BATCH, "        self.pick(self.decode_step())\n", "        self.pick(self.decode_step())\n        self.hand_over()\n", "scale/test_fake_devices.py::test_a_decode_step_waits_for_nothing"),
    ("lengths left on the CPU", DECODE_BATCH, "torch.tensor([len(p) for p in prompts], device=device)", "torch.tensor([len(p) for p in prompts])", "scale/test_fake_devices.py::test_a_decode_step_waits_for_nothing"),
    ("positions of responses on the CPU", "trlx/models/policy.py", "torch.arange(responses.shape[1], device=tokens.device)", "torch.arange(responses.shape[1])", "scale/test_fake_devices.py::test_a_training_step_stays_on_the_gpu_and_what_trains_in_fp32"),
    ("mask of packed pairs on the CPU", "reward_model/pairs.py", "place = torch.arange(width, device=lengths.device)\n    in_rejected", "place = torch.arange(width)\n    in_rejected", "scale/test_fake_devices.py::test_a_training_step_stays_on_the_gpu_and_what_trains_in_fp32"),
    ("scores in bf16", "summarize_rlhf/lm/precision.py", "linear(states.float(), self.weight.float(), None if self.bias is None else self.bias.float())", "linear(states.float(), self.weight.float(), None if self.bias is None else self.bias.float()).to(states.dtype)", "scale/test_fake_devices.py::test_the_reward_model_scores_on_the_gpu_in_fp32"),
    ("keys and values wait for the collector", "summarize_rlhf/lm/kv_cache.py", "        self.positions = positions\n        super().__init__(layers", "        self.positions = positions\n        positions.cache = self\n        super().__init__(layers", "lm/test_decoding.py::test_keys_and_values_go_with_their_batch"),
    ("ledger: what is freed stays", FOOTPRINT, "        self.died = ledger.time + 1  #", "        pass  #", "scale/test_plan.py::test_the_most_that_is_there_at_once_by_kind"),
    ("ledger: what an operation reads is freed before it writes", FOOTPRINT, "self.died = ledger.time + 1  #", "self.died = ledger.time  #", "scale/test_plan.py::test_the_most_that_is_there_at_once_by_kind"),
    ("ledger: views count twice", FOOTPRINT, "        if storage not in self.of:\n", "        if True:\n", "scale/test_plan.py::test_the_most_that_is_there_at_once_by_kind"),
    ("ledger: main memory is the GPU's", FOOTPRINT, "here = [storage for storage in self.storages if storage.place in places]", "here = list(self.storages)", "scale/test_plan.py::test_the_most_that_is_there_at_once_by_kind"),
    ("plan: Adam's state stays on the GPU", FOOTPRINT, 'with ledger.making("optimizer", HOST if offloaded else GPU):', 'with ledger.making("optimizer"):', "scale/test_plan.py::test_sft_by_hand"),
    ("plan: what is pinned is on the GPU", FOOTPRINT, "lambda tensor, *_, **__: ledger.move(tensor, HOST)", "lambda tensor, *_, **__: tensor", "scale/test_plan.py::test_sft_by_hand"),
    ("plan: one process for all GPUs", MEASURING, "    with processes(setup.processes), on_fake", "    with processes(1), on_fake", "scale/test_plan.py::test_sft_by_hand"),
    ("plan: the reward model recomputes nothing", "reward_model/footprint.py", "    if checkpointing:\n", "    if False:\n", "scale/test_plan.py::test_recomputed_activations_are_not_kept"),
    ("plan: no reward model beside the policy", MEASURING, "setup.processes == setup.gpus and", "False and", "scale/test_plan.py::test_the_other_stages_train_a_part"),
    ("plan: CUDA itself needs nothing", ADVICE, "(gpu_bytes + CONTEXT, ", "(gpu_bytes, ", "scale/test_plan.py::test_a_context_and_every_process_count"),
    ("plan: one process's main memory", ADVICE, "(setup.processes * (host_bytes + PROCESS), host)", "(host_bytes + PROCESS, host)", "scale/test_plan.py::test_a_context_and_every_process_count"),
    ("plan: the smallest batch", ADVICE, "            batch = setup.batch\n", "            batch = 1\n", "scale/test_plan.py::test_the_nearest_that_fits"),
    ("plan: one step, which meets no moments", FOOTPRINT, "range(2 * deepspeed[", "range(1 * deepspeed[", "scale/test_plan.py::test_without_gpus_all_is_in_main_memory_and_in_fp32"),
    ("plan: no step is made, and no moments", FOOTPRINT, "module.is_invalid_grad_norm = lambda norm: False", "pass", "scale/test_plan.py::test_without_gpus_all_is_in_main_memory_and_in_fp32"),
    ("plan: without GPUs only what would be on them", MEASURING, "ledger.peak(GPU, HOST))", "ledger.peak(HOST))", "scale/test_plan.py::test_without_gpus_all_is_in_main_memory_and_in_fp32"),
    ("plan: buckets as published, whatever the model", FOOTPRINT, "    fit_buckets(config, model)\n", "", "scale/test_plan.py::test_without_gpus_all_is_in_main_memory_and_in_fp32"),
    ("plan: without GPUs no fewer processes", ADVICE, "for n in (4, 2, 1) if n < setup.gpus)]", "for n in ())]", "scale/test_plan.py::test_without_gpus_fewer_processes"),
    ("check: small models are planned", CHECK, "        if SPARE * here * most", "        if 10**9 * most", "scale/test_memory_check.py::test_a_small_model_is_not_planned"),
    ("check: what cannot be planned ends the run", CHECK, "    except Exception as error:  #", "    except KeyError as error:  #", "scale/test_memory_check.py::test_what_cannot_be_planned_runs"),
    ("check: just too much is refused", CHECK, "filled <= 1 + TOLERANCE", "filled <= 1", "scale/test_memory_check.py::test_what_is_said"),
    ("check: all arguments are advice", CHECK, 'if plan["flags"].get(name) != x]', "]", "scale/test_memory_check.py::test_what_is_said"),
    ("check: the bound forgets what enters and leaves matrices", CHECK, "COPIES * numbers * tokens", "tokens", "scale/test_memory_check.py::test_every_stage_stays_under_the_bound"),
    ("plan: all that an adapter leaves frozen is trained", "sft/footprint.py", "        if lora.lora_r:\n", "        if False:\n", "scale/test_plan_options.py::test_of_an_adapter_little_is_trained"),
    ("plan: adapters in the frozen blocks, too", "reward_model/footprint.py", 'add_lora(model.transformer, lora, 0, "base", top)', 'add_lora(model.transformer, lora, 0, "base")', "scale/test_plan_options.py::test_of_an_adapter_little_is_trained"),
    ("plan: a merged model is written from nowhere", "reward_model/footprint.py", "if lora.merge_adapter else None", "if False else None", "scale/test_plan_options.py::test_of_an_adapter_little_is_trained"),
    ("plan: PPO forgets its adapter", "trlx/footprint.py", "if settings.model.peft_config is not None:", "if False:", "scale/test_plan_options.py::test_of_an_adapter_little_is_trained"),
    ("plan: fp16 asks the CPU", FOOTPRINT, "    accelerator.is_fp16_supported = lambda: True", "    pass", "scale/test_plan_options.py::test_in_fp16_gradients_add_up_in_fp16"),
    ("plan: under ZeRO-3 other processes disagree", FOOTPRINT, "module.assert_ints_same_as_other_ranks = lambda ints: None", "pass", "scale/test_plan_options.py::test_under_zero_3_weights_are_shared_out"),
    ("plan: under ZeRO-3 weights are activations", FOOTPRINT, "yield parameter.ds_tensor if is_partitioned(parameter) else parameter", "yield parameter", "scale/test_plan_options.py::test_under_zero_3_weights_are_shared_out"),
    ("plan: the command trains no adapter", "summarize_rlhf/plan/setups.py", "named |= {name: x for name in LORA if (x := getattr(setup, name))}", "pass", "scale/test_plan.py::test_the_command_starts_what_was_planned"),
    ("peaks: pages of files count", "benchmarks/anonymous_memory.py", "(int(resident) - int(of_files)) * PAGE", "int(resident) * PAGE", "scale/test_plan_options.py::test_memory_of_a_mapped_file_is_not_the_processs_own"),
    ("check: an adapter is not told of", "summarize_rlhf/lm/lora.py", "if args.lora_r else {}\n\n\ndef default", "if False else {}\n\n\ndef default", "scale/test_memory_check.py::test_an_adapter_needs_little_beside_the_weights"),
    ("check: SFT does not ask", "sft/train_gptj_summarize.py", "    if args.plan:", "    if False:", "scale/test_memory_check.py::test_a_model_too_large_is_refused_before_its_weights_are_missed"),
    ("check: the reward model does not ask", "reward_model/train_reward_model_gptj.py", "    if args.plan:", "    if False:", "scale/test_memory_check.py::test_a_model_too_large_is_refused_before_its_weights_are_missed"),
    ("check: PPO does not ask", "trlx_gptj_text_summarization.py", "    if task.plan:", "    if False:", "scale/test_memory_check.py::test_ppo_is_refused_too_and_runs_where_no_plan_is_wanted"),
    ("cache one column short", DECODE_BATCH, "else self.longest + self.drawn\n", "else self.longest + self.drawn - 1\n", "lm/test_decoding.py::test_tokens_are_those_of_the_slow_way"),
    ("traffic: a process sends its own part, too", TRAFFIC, "return (processes - 1) / processes * numbers", "return numbers", "scale/test_traffic.py::test_numbers_that_a_process_sends"),
    ("traffic: an all-reduce sends once", TRAFFIC, '"all-reduce": 2,', '"all-reduce": 1,', "scale/test_traffic.py::test_numbers_that_a_process_sends"),
    ("traffic: ZeRO-3 gathers once", TRAFFIC, '"ZeRO-3": weights + trained}', '"ZeRO-3": weights}', "scale/test_traffic.py::test_numbers_that_a_process_sends"),
    ("traffic: ZeRO-3 gathers what is trained alone", TRAFFIC, '"ZeRO-3": weights + trained}', '"ZeRO-3": 2 * trained}', "scale/test_traffic.py::test_numbers_that_a_process_sends"),
    ("traffic: fp32 on the wire", TRAFFIC, "WIRE = 2  #", "WIRE = 4  #", "scale/test_traffic.py::test_bytes_of_a_step_of_gpt_j"),
    ("traffic: one network card carries all", TRAFFIC, "number / NODE / BETWEEN", "number / BETWEEN", "scale/test_traffic.py::test_inside_a_node_all_goes_over_nvlink_and_beyond_it_an_eighth_over_each_network_card"),
    ("traffic: the faster kind of link decides", TRAFFIC, "return max(number", "return min(number", "scale/test_traffic.py::test_the_slower_kind_of_link_decides"),
    ("traffic: attention costs nothing", TRAFFIC, " + 12 * BLOCKS * WIDTH * TOKENS)", ")", "scale/test_traffic.py::test_seconds_of_a_row"),
    ("traffic: the whole of the peak", TRAFFIC, "operations / (MFU * PEAK)", "operations / PEAK", "scale/test_traffic.py::test_seconds_of_a_row"),
    ("traffic: idle GPUs are efficient", TRAFFIC, "return self.busy * self.compute / (", "return self.compute / (", "scale/test_traffic.py::test_efficiency"),
    ("traffic: sending and computing add up in an overlap", TRAFFIC, "max(self.compute, self.wire)", "(self.compute + self.wire)", "scale/test_traffic.py::test_efficiency"),
    ("traffic: part of a row on each GPU", TRAFFIC, "rows = math.ceil(batch / gpus)", "rows = batch / gpus", "scale/test_traffic.py::test_fewer_rows_than_gpus_leave_gpus_idle"),
    ("two hosts: each process's count of its host adds up", TWO_HOSTS, "first_of_host = ranks[:: case.processes]", "first_of_host = ranks", "scale/test_traffic.py::test_figures_leave_the_first_step_out_and_count_each_host_once"),
    ("two hosts: the start's traffic counts", TWO_HOSTS, '(rank["steps"][-1][device] - rank["steps"][0][device])', 'rank["steps"][-1][device]', "scale/test_traffic.py::test_figures_leave_the_first_step_out_and_count_each_host_once"),
    ("two hosts: more processes take more rows", TWO_HOSTS, "rows = BATCH[case.stage] // (case.hosts * case.processes)", "rows = BATCH[case.stage]", "scale/test_traffic.py::test_a_run_is_one_micro_batch_of_the_same_global_batch"),
    ("two hosts: what stays in a host is not sent", TABLES, 'sum(run["cable"] + run["loopback"]) / processes', 'sum(run["cable"]) / processes', "scale/test_traffic.py::test_a_run_beside_one_process_and_beside_rings"),
    ("two hosts: a process's own part is sent, too", TABLES, "rings = (processes - 1) / processes * sum", "rings = sum", "scale/test_traffic.py::test_a_run_beside_one_process_and_beside_rings"),
    ("two hosts: the first loss alone", TABLES, 'zip(run["losses"], alone["losses"], strict=True)', 'zip(run["losses"][:1], alone["losses"][:1], strict=True)', "scale/test_traffic.py::test_a_run_beside_one_process_and_beside_rings"),
    ("collectives: numbers for bytes", "benchmarks/collectives.py", "x.numel() * x.element_size()", "x.numel()", "scale/test_traffic.py::test_what_is_handed_to_collectives_is_counted_in_bytes"),
]
