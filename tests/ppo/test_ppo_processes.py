"""Two processes, under DDP and ZeRO, do what one does: the same losses, statistics, weights and files.

Each launch is the real one (`accelerate launch`, gloo on CPU) and takes some ten seconds, so there is one per backend.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from launched_ppo import run
from logged import metrics
from safetensors.torch import load_file
from tiny_trlx import PROMPTS

from trlx.pipeline.offline_pipeline import PromptCursor

BACKENDS = {
    "ddp": None,
    "zero1": {"zero_optimization": {"stage": 1}},
    "zero2": {"zero_optimization": {"stage": 2}},
    "zero3": {"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}},
}
# 7 rollouts for 2 processes: 3 and 4, sampled by numbers that belong to their row; two collections of two updates, of
# all rollouts each. Adam's epsilon is large: rounding must not decide the sign of a step.
OVERRIDES = {
    "method.num_rollouts": 7,
    "method.chunk_size": 3,
    "method.gen_kwargs": {"max_new_tokens": 6},
    "optimizer.kwargs.eps": 1e-3,
    "train.max_grad_norm": 0.5,
    "train.save_optimizer": True,
    "train.eval_interval": 1,
}
# What must not change the numbers either.
MORE = {"zero1": {"train.reward_on_all_ranks": True, "train.minibatch_size": 1, "train.gradient_checkpointing": True}}


@pytest.fixture(scope="module")
def alone(gptj_dir, tmp_path_factory) -> Path:
    """The run of one process, without a launcher."""
    out = tmp_path_factory.mktemp("alone")
    run(str(gptj_dir), str(out), OVERRIDES | {"train.batch_size": 8})
    return out


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_processes_do_what_one_does(backend: str, alone, gptj_dir, root, tmp_path) -> None:
    out = tmp_path / "out"
    overrides = OVERRIDES | {"train.batch_size": 4} | MORE.get(backend, {})
    values = {"model": str(gptj_dir), "out": str(out), "overrides": overrides}
    accelerate = [str(Path(sys.executable).with_name("accelerate")), "launch", "--num_machines", "1"]
    accelerate += ["--num_processes", "2", "--main_process_port", "0"]
    if BACKENDS[backend] is None:
        accelerate += [
            "--multi_gpu",
            "--mixed_precision",
            "no",
        ]  # which means torchrun, with gloo where there is no GPU
    else:
        (tmp_path / "ds.json").write_text(json.dumps(BACKENDS[backend]))
        accelerate += ["--use_deepspeed", "--deepspeed_config_file", str(tmp_path / "ds.json")]
    environment = {**os.environ, "DS_ACCELERATOR": "cpu"}
    command = [*accelerate, str(root / "tests/launched_ppo.py"), json.dumps(values)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]

    seen = [json.loads((out / f"seen_{rank}.json").read_text()) for rank in (0, 1)]
    assert [s["processes"] for s in seen] == [2, 2]
    assert seen[0]["kind"] == ("MULTI_CPU" if backend == "ddp" else "DEEPSPEED")

    # The reward function saw every sample once, in order: on rank 0, or where it was told to, each rank its own.
    cursor = PromptCursor(len(PROMPTS), 1000)
    collected = [[PROMPTS[i] for i in cursor.take(7)] for _ in range(2)]
    shares = [slice(0, 3), slice(3, 7)] if "train.reward_on_all_ranks" in overrides else [slice(0, 7), slice(0, 0)]
    for rank, share in enumerate(shares):
        expected = [prompts[share] for prompts in collected if prompts[share]]
        assert [prompts for prompts in seen[rank]["prompts"] if prompts in expected] == expected
    if "train.reward_on_all_ranks" not in overrides:
        assert seen[1]["prompts"] == []

    ours, theirs = metrics(out), metrics(alone)
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for our, their in zip(ours, theirs, strict=True):
        for key in our:
            assert our[key] == pytest.approx(their[key], abs=2e-5, rel=2e-5), (key, our["step"])
    step = ours[-1]["step"]
    files = [{p.name for p in (o / f"checkpoint_{step}/hf_model").iterdir()} for o in (out, alone)]
    assert files[0] == files[1]
    for file in ("model.safetensors", "value_head.safetensors"):
        weights = [load_file(o / f"checkpoint_{step}/hf_model" / file) for o in (out, alone)]
        torch.testing.assert_close(*weights, rtol=0, atol=1e-5)
    # Generation from the whole weights, on every rank, before and after the saved state was loaded again.
    single = json.loads((alone / "seen_0.json").read_text())
    assert all(s["greedy"] == s["again"] == single["greedy"] for s in seen)
