"""Whether a stage will fit into memory, asked before a weight is loaded.

A model that is far smaller than what is there costs nothing. For others the planner (`summarize_rlhf/plan`) runs the
stage's step on fake tensors, in a process of its own, and says what would fit where the stage does not.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PretrainedConfig

from summarize_rlhf import UserError
from summarize_rlhf.lm.adapters import find_bottom
from summarize_rlhf.lm.speed import CACHE_TOKENS
from summarize_rlhf.reading import reason
from summarize_rlhf.run.deepspeed_config import NAMES
from summarize_rlhf.run.launch import LAUNCHED, local_processes
from summarize_rlhf.run.main_memory import free_main_memory, resident
from summarize_rlhf.versions import ROOT

PRETENDED = "SUMMARIZE_RLHF_MEMORY"  # environment variable: GB to count on, of each GPU or of main memory
GB = 1e9
TOLERANCE = 0.1  # plans differ from measured peaks (docs/scale.md)
PATIENCE = 600  # seconds for the planner
SPARE = 2  # times what a step stays under must be there, for the planner not to be asked
# What a step stays under. Weights as loaded and as trained, gradients three times, a bucket and Adam's state are 36.
BYTES_PER_WEIGHT = 40
COPIES = 2  # of each matrix's input and output, in fp32, that are there at once
PASS = {"cpu": CACHE_TOKENS, "cuda": 2**15}  # tokens of a pass without gradients


def check_memory(
    stage: str,
    model: str | Path,
    dtype: torch.dtype,
    zero: Mapping[str, Any],
    tokens: int,
    kept_tokens: int = 0,
    **asked: Any,
) -> None:
    """Raise `UserError` where a stage ("sft", "rm" or "ppo") needs more memory than is there; say what would fit.

    A micro-batch has `tokens` at most, and of `kept_tokens` a hidden state is kept. `zero` is the section
    zero_optimization of the DeepSpeed configuration; `asked` are further arguments of the planner. What cannot be
    planned runs, after a line that says so. All processes of a launch call this.
    """
    state, found = PartialState(), None
    if state.is_main_process:
        asked |= {"stage": stage, "precision": NAMES[dtype], "offload": "offload_optimizer" in zero}
        found = refusal(str(model), tokens, kept_tokens, zero.get("stage", 0), asked, state)
    (found,) = broadcast_object_list([found])
    if found is not None:
        raise UserError(found)


def refusal(
    model: str, tokens: int, kept_tokens: int, zero_stage: int, asked: dict[str, Any], state: PartialState
) -> str | None:
    """Say why a stage does not fit, and what would; None where it fits or nobody knows."""
    here, device = local_processes(), state.device.type
    try:
        there = memory_there(state.device)
        if there is None:
            return None
        model = find_bottom(model)
        config = AutoConfig.from_pretrained(model)
        if SPARE * here * most_needed(config, tokens + PASS[device], kept_tokens) < there:
            return None
        if zero_stage not in (1, 2, 3):
            raise ValueError(f"the planner knows ZeRO-1, 2 and 3, not {zero_stage}")
        print(f"planning the memory of this run ({model}) …", flush=True)
        devices = f"{state.num_processes}x{'cpu' if device == 'cpu' else format(there / GB, '.3f')}"
        main = there if device == "cpu" else free_main_memory()
        host = state.num_processes / here * (main + here * resident())  # of all machines
        plans = ask_planner(asked | {"model": model, "gpus": devices, "host": f"{host / GB:.3f}"})
    except Exception as error:  # whatever it is, it must not stand in the way of a run
        print(f"note: whether this run fits into memory is not known ({reason(error)})", flush=True)
        return None
    return explain(*plans)


def memory_there(device: torch.device) -> float | None:
    """Return the bytes of a GPU, or those that are free in main memory; None where they are not known."""
    if PRETENDED in os.environ:
        return float(os.environ[PRETENDED]) * GB
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else free_main_memory()


def most_needed(config: PretrainedConfig, tokens: int, kept_tokens: int) -> float:
    """Return the bytes that a step of any stage stays under, from the shapes of the weights alone.

    Each weight, the inputs and outputs of each matrix for `tokens`, and a hidden state for `kept_tokens` in fp32.
    """
    # Not `from_config`: under ZeRO-3 that spreads the weights over processes, and one process alone is here.
    with torch.device("meta"):
        model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config)
    weights = sum(p.numel() for p in model.parameters())
    numbers = sum(sum(p.shape) for p in model.parameters() if p.dim() > 1)  # in and out, of a token
    return BYTES_PER_WEIGHT * weights + 4 * (COPIES * numbers * tokens + config.hidden_size * kept_tokens)


def ask_planner(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the plan of what is asked, and where that does not fit the plan of the nearest that does.

    Raises `RuntimeError` with the planner's last words.
    """
    hidden = {*LAUNCHED, "CUDA_VISIBLE_DEVICES"}
    environment = {name: x for name, x in os.environ.items() if name not in hidden and "ACCELERATE" not in name}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plans.json"
        words = [f"--{name}={x}" for name, x in {**asked, "json": file}.items() if x is not None]
        command = [sys.executable, "-m", "summarize_rlhf.plan", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode != 0 or not file.is_file():
            last = next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
            raise RuntimeError(last.removeprefix("error: "))
        return json.loads(file.read_text(encoding="utf-8"))["plans"]


def explain(plan: Mapping[str, Any], better: Mapping[str, Any] | None = None) -> str | None:
    """Say what a plan needs, what is there, and what would fit; None where it fits, by a line where only just."""
    filled = max(need / there for need, there in plan["needs"].values())
    listed = " and ".join(
        f"{need / GB:.1f} GB of {what}, which has {there / GB:.1f} GB" for what, (need, there) in plan["needs"].items()
    )
    if filled <= 1:
        return None
    if filled <= 1 + TOLERANCE:
        print(f"note: this run may just not fit: it needs {listed}", flush=True)
        return None
    remedy = "nothing that was tried would fit"
    if better is not None:
        changed = [f"{name} {x}" for name, x in better["flags"].items() if plan["flags"].get(name) != x]
        if (better["gpus"], better["size"]) != (plan["gpus"], plan["size"]):
            devices = "process(es)" if better["size"] is None else f"GPU(s) of {better['size']:g} GB"
            changed.insert(0, f"{better['gpus']} {devices}")
        remedy = f"the nearest that would fit: {', '.join(changed)}"
    return (
        f"this run does not fit into memory: it needs {listed}; {remedy}. `python -m summarize_rlhf.plan` plans "
        "others; --plan False (PPO: task.plan) runs without a plan"
    )
