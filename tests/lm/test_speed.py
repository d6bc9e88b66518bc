"""What is tuned for speed alone changes no result, and does what it is for."""

import subprocess
import sys

import pytest
import torch
from tiny import gptj_config
from transformers import AutoModelForCausalLM
from transformers.activations import GELUTanh, NewGELUActivation

from summarize_rlhf.lm.speed import tune_model


def test_the_fused_activation_is_the_one_it_replaces():
    """In fp32 to 2e-6, values and gradients, of what it says in fp64."""
    results = []
    for activation, dtype in ((NewGELUActivation(), torch.float64), (GELUTanh(), torch.float32)):
        x = torch.linspace(-12, 12, 10_001, dtype=dtype, requires_grad=True)
        y = activation(x)
        results.append((y.detach(), torch.autograd.grad(y.sum(), x)[0]))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6)


def test_models_get_it():
    model = tune_model(AutoModelForCausalLM.from_config(gptj_config(64)))
    kinds = [type(module) for module in model.modules()]
    assert NewGELUActivation not in kinds
    assert kinds.count(GELUTanh) == model.config.n_layer


FAULTS = """
import resource, sys, torch
from summarize_rlhf.lm.speed import tune_process
if sys.argv[1] == "tuned":
    tune_process()
x = torch.ones(2**23)  # 32 MB
faults = []
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    y = x * 2
    del y
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(faults)[6])  # a hole in the heap is grown once or twice
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_freed_memory_is_kept():
    """A new tensor of 32 MB is 8,192 pages; where it takes an old one's memory, none is faulted in again."""
    faults = {
        way: int(subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True).stdout)
        for way in ("plain", "tuned")
    }
    assert faults["tuned"] < 1000 < faults["plain"]
