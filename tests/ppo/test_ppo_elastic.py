"""PPO goes on with another number of processes (`train.elastic`), in the middle of a collection.

Where an update takes all rollouts, it computes what the undisturbed run does; where it takes some of them, others of the
same collection, and it stays within the spread of the seeds.
"""

import json
import shutil
import statistics
from pathlib import Path

import pytest
import torch
from forkserver import DOCUMENTED, Ended, ForkServer
from logged import metrics
from safetensors.torch import load_file
from tiny_trlx import PROMPTS, length_reward, tiny_config

import trlx
from trlx.pipeline.rollouts import Rollout, to_tensors
from safetensors.torch import save_file
from trlx.trainer.elastic import shared_out

ZERO = {
    "1": {"stage": 1},
    "2": {"stage": 2},
    "3": {"stage": 3, "stage3_param_persistence_threshold": 0},  # also of small weights each process has a piece
}
# 7 rollouts, shared unevenly, all of them in each update: 3 collections of 2 updates. Adam's epsilon is large: rounding
# must not decide the sign of a step. Learning rate, moments of the rewards and KL coefficient change all the time.
OVERRIDES = {
    "method.num_rollouts": 7,
    "method.chunk_size": 3,
    "method.gen_kwargs": {"max_new_tokens": 6},
    "method.scale_reward": "running",
    "method.target": 0.1,
    "optimizer.kwargs.eps": 1e-3,
    "optimizer.kwargs.weight_decay": 0.1,
    "scheduler.kwargs": {"T_max": 8, "eta_min": 1e-3},
    "train.epochs": 3,
    "train.max_grad_norm": 0.5,
    "train.save_optimizer": True,
    "train.eval_interval": 1,
    "train.resume_from_checkpoint": "auto",
}
STEPS, CUT = 6, 3  # training batches; the second collection has one update then


def start(server: ForkServer, model: Path, folder: Path, zero: str, processes: int, **more) -> Ended:
    """As `accelerate launch` does: under DeepSpeed, or without it (`zero` "no")."""
    folder.mkdir(exist_ok=True)
    batch = {"train.batch_size": 8 // processes}
    values = {"model": str(model), "out": str(folder / "out"), "overrides": OVERRIDES | batch | more}
    environment = {}
    if zero != "no":
        (folder / "ds.json").write_text(json.dumps({"zero_optimization": ZERO[zero]}))
        environment = DOCUMENTED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(folder / "ds.json")}
    return server.run("trlx", [json.dumps(values)], folder, processes, **environment)


@pytest.fixture(scope="module")
def undisturbed(server, gptj_dir, tmp_path_factory) -> Path:
    """What one process without DeepSpeed has left."""
    folder = tmp_path_factory.mktemp("whole")
    ended = start(server, gptj_dir, folder, "no", 1)
    assert ended.code == 0, ended.err[-3000:]
    return folder / "out"


@pytest.fixture(scope="module")
def cut(server, gptj_dir, tmp_path_factory):
    """`cut(zero, processes)`: the folder of a run that ended early, each once."""
    made: dict[tuple[str, int], Path] = {}

    def run(zero: str, processes: int) -> Path:
        if (zero, processes) not in made:
            folder = made[zero, processes] = tmp_path_factory.mktemp("cut")
            ended = start(server, gptj_dir, folder, zero, processes, **{"train.total_steps": CUT})
            assert ended.code == 0, ended.err[-3000:]
        return made[zero, processes]

    return run


def tensors(out: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(out / f"checkpoint_{STEPS}/hf_model/{name}.safetensors")


@pytest.mark.parametrize(
    ("zero", "before", "now"),
    [("no", 1, 2), ("no", 2, 1), ("2", 1, 2), ("2", 2, 1), ("2", 2, 4), ("1", 2, 1), ("3", 1, 2), ("3", 2, 1)],
)
def test_it_goes_on_as_the_undisturbed_run(server, gptj_dir, undisturbed, cut, tmp_path, zero, before, now) -> None:
    """What is logged, samples, and weights: step, prompts, rollouts in use, moments, schedule, KL coefficient."""
    shutil.copytree(cut(zero, before) / "out", tmp_path / "out")
    ended = start(server, gptj_dir, tmp_path, zero, now, **{"train.elastic": True})
    assert ended.code == 0, ended.err[-3000:]
    told = f"going on with {now} process(es), {tmp_path}/out/checkpoint_{CUT} was written by {before}; statistically"
    assert told in ended.out
    ours, theirs = metrics(tmp_path / "out"), metrics(undisturbed)
    print("WORST", max(abs(o[k]-t[k]) for o,t in zip(ours,theirs) for k in t))
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert our == pytest.approx(their, rel=2e-5, abs=2e-5)
    assert (tmp_path / "out/samples.jsonl").read_text() == (undisturbed / "samples.jsonl").read_text()
    for name in ("model", "value_head"):
        torch.testing.assert_close(tensors(tmp_path / "out", name), tensors(undisturbed, name), rtol=0, atol=1e-5)
    assert not list((tmp_path / "out").glob(".*.tmp"))
