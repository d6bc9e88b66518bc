"""GPU paths on a machine without one: a step of each stage at full size on fake CUDA tensors (scale_steps.py)."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent
MODELS = {"GPT-J 6B": 6_050_882_784, "Llama-3 8B": 8_030_261_248, "Pythia 1B": 1_011_781_632}  # all weights
HIDDEN = {"GPT-J 6B": 4096, "Llama-3 8B": 4096, "Pythia 1B": 2048}
KEYS = {"GPT-J 6B": [16, 16, 550, 256], "Llama-3 8B": [16, 8, 550, 128], "Pythia 1B": [16, 8, 550, 256]}
ON_GPU = "torch.float32 cuda:0"


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict]:
    """What each step found. Skips where torch has CUDA, which brings a guard of its own, or there is no compiler."""
    if torch.backends.cuda.is_built():
        pytest.skip("for a torch without CUDA; with one, run the stages")
    if shutil.which("g++") is None:
        pytest.skip("g++ is needed, to compile tests/scale/fake_cuda.cpp")
    library, root = tmp_path_factory.mktemp("guard") / "fake_cuda.so", Path(torch.__file__).parent
    command = ["g++", "-std=c++20", "-O0", "-shared", "-fPIC", f"-I{root}/include", HERE / "fake_cuda.cpp"]
    command += [f"-L{root}/lib", f"-Wl,-rpath,{root}/lib", "-lc10", "-ltorch_cpu", "-o", library]
    subprocess.run(command, check=True)
    command = [sys.executable, HERE.parent / "scale_steps.py", library]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stage", ["sft", "rm", "ppo"])
def test_a_training_step_stays_on_the_gpu_and_what_trains_in_fp32(found, stage, model) -> None:
    step = found[f"{stage} {model}"]
    assert "error" not in step, step["error"]
    assert step["loss"] == ["torch.float32", "cuda:0"]
    assert (step["gradients"], step["moments"]) == ([ON_GPU], [ON_GPU])
    assert step["without a gradient"] == 0
    assert step["trained"] == MODELS[model] if stage == "sft" else step["trained"] < 0.5 * MODELS[model]
    if stage == "ppo":
        assert step["rollouts"] == [ON_GPU]


@pytest.mark.parametrize("model", MODELS)
def test_a_decode_step_waits_for_nothing(found, model) -> None:
    """Prefill, drawing and reading: the only wait is between steps, where finished rows are handed over."""
    step = found[f"decoding {model}"]
    assert "error" not in step, step["error"]
    assert step["states"] == ["torch.bfloat16", "cuda:0", [16, HIDDEN[model]]]
    assert step["keys"] == [f"torch.bfloat16 cuda:0 {KEYS[model]}"]
    assert step["trunk"] == f"cuda:0 [16, 550, {HIDDEN[model]}]"
    assert step["tokens"] == ["torch.int64", "cuda:0", [16, 50]]
    assert step["width"] == [503, 550]  # of three steps behind a prompt of 500; all the room, for CUDA graphs


@pytest.mark.parametrize("model", MODELS)
def test_the_reward_model_scores_on_the_gpu_in_fp32(found, model) -> None:
    step = found[f"scoring {model}"]
    assert "error" not in step, step["error"]
    assert step["values"] == ["torch.float32", "cuda:0", [16, 550]]
