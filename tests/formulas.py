"""A short run of stage 1 or 2, none of whose options has its default, and what its formulas make of it.

An option that is ignored on the way to the optimizer shows in the weights. slow.py has the formulas.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from slow import AdamW, batches_of, cosine_rate, train
from torch import Tensor, nn

STEPS, BATCH, SEED = 6, 4, 5
OPTIONS = {
    "global_batch_size": BATCH,
    "per_device_train_batch_size": 2,
    "max_steps": STEPS,
    "learning_rate": 0.02,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
    "adam_beta1": 0.6,
    "adam_beta2": 0.7,
    "adam_epsilon": 1e-3,
    "weight_decay": 0.5,
    "eval_steps": STEPS,
    "logging_steps": 1,
    "save_steps": 100,
    "report_to": "none",
    "seed": SEED,
}
RATES = [cosine_rate(k, 0.02, 2, STEPS) for k in range(STEPS)]


def metrics(out: Path, key: str) -> list[float]:
    """Return what was logged under `key`, in order."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


def check_weights(
    out: Path,
    model: nn.Module,
    loss: Callable[[list[int]], Tensor],
    lengths: list[int],
    max_norm: float,
    saved_name: Callable[[str], str] = str,
) -> None:
    """Train `model` the slow way; the run in `out` has its gradients' norms, and its weights to 2e-5.

    `loss` is that of a global batch, given by the numbers of its rows, whose lengths decide their order.
    """
    optimizer = AdamW(model, 0.6, 0.7, 1e-3, 0.5)
    norms = train(model, loss, batches_of(lengths, BATCH, SEED, 0), optimizer, RATES, max_norm)
    assert min(norms) > max_norm  # clipping acts
    assert metrics(out, "grad_norm") == pytest.approx(norms, rel=1e-4)
    found = load_file(out / "model.safetensors")
    for name, expected in model.state_dict().items():
        mine = found[saved_name(name)]
        torch.testing.assert_close(mine, expected, rtol=0, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}")
