"""PPO goes on with another number of processes (`train.elastic`), in the middle of a collection.

Where an update takes all rollouts, it computes what the undisturbed run does; where it takes some, others of them, and
it stays within the spread of the seeds.
"""

import json
import re
import shutil
import statistics
from pathlib import Path

import pytest
import torch
from forkserver import DOCUMENTED, Ended, ForkServer
from logged import metrics
from safetensors.torch import load_file, save_file
from tiny_trlx import PROMPTS, length_reward, tiny_config
from zero_files import ZERO

import trlx
from summarize_rlhf.run.checkpoints import tensors_only
from summarize_rlhf.run.elastic import SCRATCH, _convert
from trlx.pipeline.rollouts import Rollout, to_tensors
from trlx.trainer.elastic import shared_out
from trlx.trainer.rewards import shared_rows

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
    "train.minibatch_size": 4,  # of 8 or 4 or 2 rollouts of a process: two micro-batches or one
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


@pytest.fixture
def goes_on(server, gptj_dir, undisturbed, cut, tmp_path):
    """`goes_on(zero, before, now)`: a run that was cut on some processes goes on with others.

    What is logged, samples, and weights are those of the undisturbed run, to 3 times what was measured (2e-6).
    """

    def check(zero: str, before: int, now: int) -> None:
        shutil.copytree(cut(zero, before) / "out", tmp_path / "out")
        ended = start(server, gptj_dir, tmp_path, zero, now, **{"train.elastic": True})
        assert ended.code == 0, ended.err[-3000:]
        told = (
            f"going on with {now} process(es), {tmp_path}/out/checkpoint_{CUT} was written by {before}; statistically"
        )
        assert told in ended.out
        ours, theirs = metrics(tmp_path / "out"), metrics(undisturbed)
        assert [row["step"] for row in ours] == [row["step"] for row in theirs]
        for our, their in zip(ours, theirs, strict=True):
            assert our == pytest.approx(their, rel=6e-6, abs=6e-6)
        assert (tmp_path / "out/samples.jsonl").read_text() == (undisturbed / "samples.jsonl").read_text()
        for name in ("model", "value_head"):
            torch.testing.assert_close(tensors(tmp_path / "out", name), tensors(undisturbed, name), rtol=0, atol=6e-6)
        assert not (tmp_path / "out" / SCRATCH).exists()

    return check


@pytest.mark.parametrize(("zero", "before", "now"), [("2", 1, 2), ("2", 2, 4), ("1", 2, 1), ("3", 2, 1), ("3", 1, 2)])
def test_it_goes_on_as_the_undisturbed_run(goes_on, zero: str, before: int, now: int) -> None:
    goes_on(zero, before, now)


@pytest.mark.parametrize(("before", "now"), [(2, 1), (1, 2)])
def test_so_it_does_without_deepspeed(goes_on, before: int, now: int) -> None:
    goes_on("no", before, now)


def universal(checkpoint: Path, folder: Path) -> dict[str, torch.Tensor]:
    """The optimizer's state in a checkpoint under ZeRO: weights, moments and step of each parameter."""
    with tensors_only():
        _convert(checkpoint / "state/pytorch_model", folder / "universal")
        files = (folder / "universal/zero").glob("*/*.pt")
        found = {f"{file.parent.name}/{file.stem}": torch.load(file, weights_only=True) for file in files}
    return {name: x["param"] if isinstance(x, dict) else x for name, x in found.items()}


@pytest.mark.parametrize("zero", ["2", "3"])
def test_weights_and_moments_are_carried_over_to_the_bit(server, gptj_dir, cut, tmp_path, zero) -> None:
    """Loaded on two processes and saved by them before another step."""
    shutil.copytree(cut(zero, 1) / "out", tmp_path / "out")
    ended = start(server, gptj_dir, tmp_path, zero, 2, **{"train.elastic": True, "train.total_steps": CUT})
    assert ended.code == 0, ended.err[-3000:]
    theirs = universal(tmp_path / f"out/checkpoint_{CUT}", tmp_path / "theirs")
    ours = universal(tmp_path / "out/as_loaded", tmp_path / "ours")
    assert {name.split("/")[1] for name in theirs} >= {"fp32", "exp_avg", "exp_avg_sq"}
    assert any(x.any() for name, x in theirs.items() if name.endswith("exp_avg_sq"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


# Updates of 4 of 16 rollouts, each in micro-batches; the second collection is cut within its first epoch.
SEVERAL = {
    "method.num_rollouts": 16,
    "method.chunk_size": 16,
    "train.epochs": 3,
    "train.minibatch_size": 2,
    "train.save_optimizer": True,
    "train.checkpoint_interval": 11,
    "train.resume_from_checkpoint": "auto",
}
AFTER = 11  # of 8 steps a collection


def means(out: Path) -> dict[str, float]:
    """Means over the steps after the cut."""
    rows = [row for row in metrics(out) if row["step"] > AFTER]
    names = ("losses/value_loss", "losses/total_loss", "returns/mean", "rollout_scores/mean")
    return {name: statistics.mean(row[name] for row in rows if name in row) for name in names}


def test_cut_within_an_epoch_it_stays_within_the_spread_of_the_seeds(server, gptj_dir, tmp_path) -> None:
    """Within 3 standard deviations over four seeds of the undisturbed run of its own seed.

    The value head has learned by then: one that started over would be seen by its loss.
    """
    for seed in range(4):
        config = tiny_config(gptj_dir, tmp_path / f"seed {seed}", **SEVERAL, **{"train.seed": seed})
        trlx.train(reward_fn=length_reward, prompts=PROMPTS, eval_prompts=PROMPTS[:1], config=config)
    found = [means(tmp_path / f"seed {seed}") for seed in range(4)]
    for path in (tmp_path / "seed 0").iterdir():
        if path.is_file():
            (tmp_path / "out").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "out")
    shutil.copytree(tmp_path / f"seed 0/checkpoint_{AFTER}", tmp_path / f"out/checkpoint_{AFTER}")
    more = SEVERAL | {"train.seed": 0, "train.batch_size": 2, "train.elastic": True}
    values = {"model": str(gptj_dir), "out": str(tmp_path / "out"), "overrides": more}
    ended = server.run("trlx", [json.dumps(values)], tmp_path, 2)
    assert ended.code == 0, ended.err[-3000:]
    assert f"checkpoint_{AFTER} was written by 1" in ended.out
    assert [row["step"] for row in metrics(tmp_path / "out") if "ratio" in row] == list(range(1, 25))
    for name, value in means(tmp_path / "out").items():
        spread = [each[name] for each in found]
        assert abs(value - spread[0]) < 3 * statistics.stdev(spread), (name, value, spread)


def rollout(number: int) -> Rollout:
    per_token = torch.full((2,), float(number))
    return Rollout([number] * 3, [number] * 2, *([per_token] * 4), torch.full((5, 4), float(number)))


@pytest.mark.parametrize(("wrote", "now"), [(1, 3), (3, 1), (2, 4), (3, 2)])
def test_rollouts_in_use_are_shared_out_as_if_they_were_collected_so(tmp_path, wrote, now) -> None:
    rollouts = [rollout(number) for number in range(7)]
    for rank in range(wrote):
        mine = [rollouts[i] for i in shared_rows(7, wrote, rank)]
        save_file(to_tensors(mine), tmp_path / f"rollouts_{rank}.safetensors")
    for rank in range(now):
        found = shared_out(tmp_path, wrote, now, rank, torch.device("cpu"))
        assert [row.prompt for row in found] == [rollouts[i].prompt for i in shared_rows(7, now, rank)]
        assert all(row.returns[0] == row.trunk[4, 3] == row.response[1] for row in found)


@pytest.mark.parametrize(
    ("zero", "more", "told"),
    [
        ("2", {}, "processes was 1, is 2.*--elastic \\(PPO: train.elastic\\) goes on with another number"),
        (
            "2",
            {"train.elastic": True, "train.batch_size": 8},
            "1 process\\(es\\) × train.batch_size 8 = 8 rollouts .* 2 × 8 make 16: set train.batch_size to 4",
        ),
        ("no", {"train.elastic": True}, "was written under DeepSpeed, but this launch is without it"),
    ],
)
def test_what_would_be_another_run_is_refused(server, gptj_dir, cut, zero, more, told) -> None:
    ended = start(server, gptj_dir, cut("2", 1), zero, 2, **more)
    assert ended.code != 0
    assert re.search(f"error: .*{told}", ended.err), ended.err[-3000:]
