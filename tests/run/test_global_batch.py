"""An optimizer step is the mean over its global batch: the trainers of stages 1 and 2 against one plain loop.

Nothing of the micro-batches, of accumulation and of the processes may be seen in the weights.
"""

import json
import math
import random
from pathlib import Path

import pytest
import torch
from tiny import comparison_row, make_model_dir, tldr_row, write_rows
from torch.nn.functional import cross_entropy, logsigmoid

from reward_model.comparisons import encode_comparisons, load_comparisons
from reward_model.reward_model import RewardModel
from sft.summarize_dataset import TLDRDataset
from summarize_rlhf.data import load_rows
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.run.global_batch import MicroBatches
from summarize_rlhf.run.sampler import LengthGroupedSampler
from summarize_rlhf.tokenizer import load_tokenizer

EPOCHS, WARMUP, RATE, EVALUATED = 2, 2, 0.5, 5
COMMON = {
    "max_length": 120,
    "num_train_epochs": EPOCHS,
    "learning_rate": RATE,
    "lr_scheduler_type": "linear",
    "warmup_steps": WARMUP,
    "adam_beta2": 0.95,
    "adam_epsilon": 1.0,  # nearly SGD with momentum: a gradient's rounding is not blown up to the size of a step
    "weight_decay": 0.01,
    "max_grad_norm": 1e9,
    "per_device_eval_batch_size": 2,
    "eval_steps": 100,
    "save_steps": 100,
    "logging_steps": 1,
    "seed": 3,
}
# rows, global batch, rows a device and pass: (on one process), (on two)
SHAPES = [
    (11, 4, 1, 1),  # 4 + 4 + 3
    (11, 4, 4, 2),
    (9, 8, 2, 4),  # the last step has one row: a process has none
    (5, 8, 4, 1),  # fewer rows than one global batch: 5 as 4+1, and as 1+1, 1+1, 1
    (8, 4, 2, 2),  # nothing left over
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """With biases that are not zero, so that each tensor has a size of its own to compare an error with."""
    directory = make_model_dir(tmp_path_factory.mktemp("model"))
    model = load_causal_lm(directory)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.1 * torch.randn_like(weights)
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[tuple[str, int], Path]:
    """Data of each stage and number of rows; lengths differ by a factor of several."""
    made, rng = {}, random.Random(0)
    for stage, row_of, other in (("sft", tldr_row, "valid"), ("rm", comparison_row, "test")):
        for count in {shape[0] for shape in SHAPES}:
            folder = made[stage, count] = tmp_path_factory.mktemp(f"{stage}{count}")
            write_rows(folder / "train.jsonl", [row_of(rng, rng.randint(1, 20)) for _ in range(count)])
            write_rows(folder / f"{other}.jsonl", [row_of(rng, rng.randint(1, 20)) for _ in range(EVALUATED)])
    return made


@pytest.fixture(scope="module", params=[(1, 2), (2, 2), (2, 3)], ids=["one process", "two", "two under ZeRO-3"])
def trained(request, server, model_dir, data, tmp_path_factory) -> Path:
    """The folder of a launch that trains all cases: `sft_<number of the shape>`, `rm_<…>`."""
    (processes, zero), out, cases = request.param, tmp_path_factory.mktemp("epochs"), {}
    section = {"stage": zero} | ({"stage3_param_persistence_threshold": 0} if zero == 3 else {})  # small ones, too
    auto = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    (out / "zero.json").write_text(json.dumps(dict.fromkeys(auto, "auto") | {"zero_optimization": section}))
    for stage in ("sft", "rm"):
        cases[stage] = [
            COMMON
            | {"model": str(model_dir), "dataset": str(data[stage, rows]), "global_batch_size": batch}
            | {"per_device_train_batch_size": sizes[processes - 1], "deepspeed_config": str(out / "zero.json")}
            for rows, batch, *sizes in SHAPES
        ]
        for number in range(len(SHAPES)):
            (out / f"{stage}_{number}").mkdir()
    cases["out"] = str(out)
    ended = server.run("epochs", [json.dumps(cases)], out, processes)
    assert ended.code == 0, ended.err[-3000:]
    return out


# --- one plain loop


def sft_losses(model, row) -> torch.Tensor:
    """The loss of each token of one text but the first."""
    ids = torch.tensor(row["input_ids"])
    return cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="none")


def rm_losses(model, pair) -> torch.Tensor:
    """The loss of one pair: the mean from the first difference on, the shorter text's last value held."""
    texts = pair["chosen_ids"], pair["rejected_ids"]
    chosen, rejected = (model(torch.tensor([ids]))[0] for ids in texts)
    end = max(map(len, texts))
    terms = [-logsigmoid(chosen[min(t, len(chosen) - 1)] - rejected[min(t, len(rejected) - 1)]) for t in range(end)]
    return torch.stack(terms[pair["start"] :]).mean()[None]


def plain_loop(model, losses_of, rows, lengths, batch: int) -> list[dict[str, float]]:
    """Trains `model`; loss and learning rate of each step."""
    steps = EPOCHS * math.ceil(len(rows) / batch)
    matrices, vectors = ([x for x in model.parameters() if (x.dim() > 1) == many] for many in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), eps=1.0)
    order, told = LengthGroupedSampler(lengths, batch, COMMON["seed"]), []
    for epoch in range(EPOCHS):
        order.set_epoch(epoch)
        numbers = list(order)
        for start in range(0, len(numbers), batch):
            done = len(told)
            rate = RATE * (done / WARMUP if done < WARMUP else (steps - done) / (steps - WARMUP))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = torch.cat([losses_of(model, rows[i]) for i in numbers[start : start + batch]]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            told.append({"loss": loss.item(), "learning_rate": rate})
    return told


def expected(stage: str, model_dir: Path, folder: Path, batch: int, before: dict):
    """The model that the plain loop makes, its log, and its mean loss on what is evaluated."""
    tokenizer = load_tokenizer(model_dir)
    if stage == "sft":
        model, losses_of = load_causal_lm(model_dir), sft_losses
        rows, valid = (
            TLDRDataset(load_rows(folder, split, ["prompt", "label"]), tokenizer, 120) for split in ("train", "valid")
        )
        lengths = rows.lengths
    else:
        model, losses_of = RewardModel.from_causal_lm(model_dir), rm_losses
        rows, valid = (
            encode_comparisons(load_comparisons(folder, split, None)[0], tokenizer, 120) for split in ("train", "test")
        )
        lengths = rows["length"][:]
    model.load_state_dict(before)
    log = plain_loop(model, losses_of, rows, lengths, batch)
    with torch.no_grad():
        evaluated = torch.cat([losses_of(model, row) for row in valid]).mean().item()
    return model.state_dict(), log, evaluated


def load(file: Path) -> dict[str, torch.Tensor]:
    """Weights under the names that they have in a checkpoint."""
    return {name.removeprefix("model."): x for name, x in torch.load(file).items()}


@pytest.mark.parametrize("number", range(len(SHAPES)))
@pytest.mark.parametrize("stage", ["sft", "rm"])
def test_weights_and_log_are_those_of_a_plain_loop_over_global_batches(trained, model_dir, data, stage, number):
    rows, batch, *_ = SHAPES[number]
    folder = trained / f"{stage}_{number}"
    before, after = (load(folder / name) for name in ("before.pt", "after.pt"))
    weights, steps, evaluated = expected(stage, model_dir, data[stage, rows], batch, before)
    assert after.keys() == weights.keys()
    off = {name: ((after[name] - x).norm() / x.norm()).item() for name, x in weights.items()}
    assert max(off.values()) < 1e-6, max(off, key=off.get)

    log = json.loads((folder / "log.json").read_text())
    logged = [line for line in log if "loss" in line]
    assert [line["step"] for line in logged] == list(range(1, len(steps) + 1))
    epochs, whole = [line["epoch"] for line in logged], math.ceil(rows / batch)
    assert epochs == pytest.approx([step // whole + step % whole * batch / rows for step in range(1, len(steps) + 1)])
    assert epochs[-1] == EPOCHS
    for name in ("loss", "learning_rate"):
        assert [line[name] for line in logged] == pytest.approx([step[name] for step in steps], rel=1e-5), name
    assert log[-1]["train_loss"] == pytest.approx(sum(step["loss"] for step in steps) / len(steps), rel=1e-5)
    told = next(line["eval_loss"] for line in reversed(log) if "eval_loss" in line)
    assert told == pytest.approx(evaluated, rel=1e-5)  # five rows, in batches of two, on one process or two: each once


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 9, 16, 17])
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_micro_batches_hold_each_row_once_and_are_as_many_everywhere(rows, size, processes):
    shares = [list(MicroBatches(range(rows), size, rank, processes)) for rank in range(processes)]
    assert {len(share) for share in shares} == {len(MicroBatches(range(rows), size, 0, processes))}
    together = [row for passes in zip(*shares, strict=True) for batch in passes for row in batch]
    assert together == list(range(rows))  # so that any `n` passes hold a run of rows: a global batch
    assert all(len(batch) <= size for share in shares for batch in share)
