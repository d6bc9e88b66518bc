"""The DeepSpeed options that decide what is computed, written out.

DeepSpeed's defaults change between releases (it has clipped gradients at 1.0 since mid-2026, before it did not clip),
and with them the meaning of a file that leaves them out.
"""

import math
from typing import Any

# What a DeepSpeed file says itself comes first. The sections fp16 and bf16 are filled only where the file has them.
EXPLICIT: dict[str, Any] = {
    "gradient_clipping": 0.0,  # 0: none
    "prescale_gradients": False,
    "gradient_predivide_factor": 1.0,
    "gradient_allreduce_op": "mean",
    "managed_gradient_accumulation": True,
    "zero_allow_untested_optimizer": True,  # torch's own
    "zero_force_ds_cpu_optimizer": True,  # DeepSpeed's Adam where the optimizer is offloaded
    "disable_allgather": False,
    "dataloader_drop_last": False,
    "disable_python_gc": False,
    "dump_state": False,
    "memory_breakdown": False,
    "wall_clock_breakdown": False,
    "steps_per_print": None,
    "torch_autocast": {"enabled": False},
    "data_types": {"param_dtype": None, "buffer_dtype": None},
    "fp16": {
        "auto_cast": False,
        "loss_scale": 0,  # dynamic, from 2^16 on
        "initial_scale_power": 16,
        "loss_scale_window": 1000,
        "hysteresis": 2,
        "consecutive_hysteresis": False,
        "min_loss_scale": 1,
        "fp16_master_weights_and_grads": False,
    },
    "bf16": {
        "immediate_grad_update": False,
        "check_grad_overflow": True,
        "bf16_master_weights_and_grads": False,
        "bf16_optimizer_states": False,
    },
    "zero_optimization": {
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "reduce_bucket_size": 5e8,
        "use_multi_rank_bucket_allreduce": True,
        "allgather_partitions": True,
        "allgather_bucket_size": 5e8,
        "compute_grad_norm": True,  # without clipping, too: a norm that is no number ends the run
        "load_from_fp32_weights": True,
        "elastic_checkpoint": False,
        "sub_group_size": 1e9,
        "ignore_unused_parameters": True,
        "round_robin_gradients": False,
        "parameter_alignment": False,
        "zero_hpz_partition_size": 1,
        "zero_quantized_weights": False,
        "zero_quantized_nontrainable_weights": False,
        "zero_quantized_gradients": False,
        "memory_efficient_linear": True,
        "override_module_apply": True,
        "stage3_prefetch_bucket_size": 5e7,
        "stage3_param_persistence_threshold": 1e5,
        "stage3_max_live_parameters": 1e9,
        "stage3_max_reuse_distance": 1e9,
        "stage3_module_granularity_threshold": 0,
        "stage3_use_all_reduce_for_fetch_params": False,
        "stage3_allgather_sequential": False,
        "stage3_gather_16bit_weights_on_model_save": True,
    },
}

# Accelerate's loss scaler, for fp16 without DeepSpeed.
GRAD_SCALER: dict[str, Any] = {
    "init_scale": 2.0**16,
    "growth_factor": 2.0,
    "backoff_factor": 0.5,
    "growth_interval": 2000,
    "enabled": True,
}


def written_out(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Fill in each option of `EXPLICIT` that a DeepSpeed configuration leaves out.

    `dtype` ("fp32", "bf16" or "fp16") is the precision of this machine, which counts where the configuration enables
    none. Gradients are communicated in it. Under bf16 they are accumulated in fp32, which costs little; under fp16 in
    fp16, as published.
    """
    dtype = next((name for name in ("bf16", "fp16") if config.get(name, {}).get("enabled") is True), dtype)
    zero = EXPLICIT["zero_optimization"]
    stage = config.get("zero_optimization", {}).get("stage", 0)
    if "stage3_gather_fp16_weights_on_model_save" in config.get("zero_optimization", {}):  # its old name
        zero = {name: x for name, x in zero.items() if name != "stage3_gather_16bit_weights_on_model_save"}
    # Without ZeRO, DeepSpeed accumulates in the precision that it trains in.
    accumulated = "fp32" if dtype == "bf16" and stage > 0 else dtype
    for_this_run = {
        "communication_data_type": dtype,
        "data_types": EXPLICIT["data_types"] | {"grad_accum_dtype": accumulated},
        "zero_optimization": zero | {"overlap_comm": stage == 3},
    }
    absent = {"fp16", "bf16"} - config.keys()
    written = under({name: x for name, x in (EXPLICIT | for_this_run).items() if name not in absent}, config)
    if "fp16" in written:  # DeepSpeed takes only integers by now: the published 0.5 becomes 1
        written["fp16"]["min_loss_scale"] = max(1, math.ceil(written["fp16"]["min_loss_scale"]))
    return written


def under(defaults: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return `config` with the `defaults` that it leaves out, section by section."""
    merged = {}
    for name in defaults | config:
        default, value = defaults.get(name), config.get(name, defaults.get(name))
        merged[name] = under(default, value) if isinstance(default, dict) and isinstance(value, dict) else value
    return merged


def clip_at(max_grad_norm: float | None, in_file: float | str | None) -> float:
    """Return the norm at which gradients are clipped; 0.0 is no clipping, for DeepSpeed and Trainer alike.

    `max_grad_norm` if it is given, else the number in the DeepSpeed file (`in_file`, maybe "auto" or None), else 0.0.
    """
    if max_grad_norm is not None:
        return max_grad_norm
    return 0.0 if in_file in (None, "auto") else float(in_file)
