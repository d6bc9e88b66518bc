"""Compare stage 2's training loop with the published way, in pairs per second.

    python benchmarks/bench_rm.py [--quick] [--threads 1 2] [--epochs 5]

Both train the top 30 % of the blocks of the same model on the same pairs with the Trainer of transformers, four
pairs an update, one at a time: the default of both. The published way computes both texts of a pair, padded to
550 tokens, and its backward pass crosses the frozen blocks to reach the embeddings; it runs a second time with torch's
fused attention. With several epochs ours runs the frozen blocks once, before the first one; that counts. The first
update of each run is a warm-up and does not count.
"""

import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from benchmarks import machine, measure, published, workload
from benchmarks.measure import Clock
from benchmarks.raw import FUSED, OURS, PUBLISHED
from reward_model.comparisons import encode_comparisons
from reward_model.frozen_blocks import keep_trunk
from reward_model.loss import LOSSES
from reward_model.pairs import PackedPairs
from reward_model.reward_model import RewardModel
from reward_model.train_reward_model_gptj import (
    RewardArguments,
    RewardTrainer,
    several_epochs,
)
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.run import launch
from summarize_rlhf.run.metrics import MetricsFile
from summarize_rlhf.run.sampler import LengthGroupedSampler
from summarize_rlhf.run.trainer_arguments import machine_arguments, training_arguments
from summarize_rlhf.tokenizer import load_tokenizer

UPDATE = 4  # pairs an optimizer step, on each device, as published
MICRO_BATCH = RewardArguments().per_device_train_batch_size  # pairs a forward pass


def arguments(epochs: int, micro_batch: int = MICRO_BATCH) -> RewardArguments:
    return RewardArguments(
        per_device_train_batch_size=micro_batch, global_batch_size=UPDATE, num_train_epochs=epochs, report_to="none",
        eval_steps=10**6, save_steps=10**6,
    )  # fmt: skip


def ours(folder: Path, rows: Dataset, epochs: int, micro_batch: int = MICRO_BATCH) -> dict[str, float]:
    """Train as `reward_model/train_reward_model_gptj.py` does."""
    args = arguments(epochs, micro_batch)
    training = training_arguments(args, folder / "ours", dtype_for())
    training.eval_strategy = "no"
    tokenizer, model = load_tokenizer(folder), RewardModel.from_causal_lm(folder)
    model.freeze(args.trainable_fraction)
    pairs, data = PackedPairs(tokenizer.pad_token_id), {"train": encode_comparisons(rows, tokenizer, published.WIDTH)}
    lengths = data["train"]["length"][:]
    start = time.perf_counter()
    if several_epochs(args, len(rows)):
        with tempfile.TemporaryDirectory(dir=folder) as cache:  # anew in each repeat
            data = keep_trunk(model, data, pairs, Path(cache), training, dtype_for(), args.trunk_cache_gb)
    frozen = time.perf_counter() - start
    clock = Clock()
    trainer = RewardTrainer(
        pairs=pairs,
        loss=args.loss,
        model=model,
        args=training,
        train_dataset=data["train"],
        settings={},
        metrics=MetricsFile(folder / "ours"),
        minutes=None,
        order=LengthGroupedSampler(lengths, UPDATE, args.seed),
    )
    trainer.accelerator.gradient_accumulation_steps = training.gradient_accumulation_steps  # as DeepSpeed has it
    trainer.add_callback(clock)
    trainer.train()
    return clock.rate("pairs", epochs * len(rows), UPDATE, frozen) | {"frozen_blocks_s": frozen}


def matrix_products(folder: Path, rows: Dataset, epochs: int) -> dict[str, float]:
    """Count the mean operations of a pair in an epoch, in 10⁹: each pair is computed alone, without padding."""
    args, gflop = arguments(epochs), {}
    tokenizer, model = load_tokenizer(folder), RewardModel.from_causal_lm(folder)
    model.freeze(args.trainable_fraction)
    pairs, loss = PackedPairs(tokenizer.pad_token_id), LOSSES[args.loss]
    for pair in encode_comparisons(rows, tokenizer, published.WIDTH):
        if several_epochs(args, len(rows)):
            batch = pairs([pair])
            with machine.counted(gflop, "frozen blocks"), torch.no_grad():
                pair["trunk"] = model.frozen(**pairs.inputs(batch))[0]
        batch = pairs([pair])
        with machine.counted(gflop, "steps"):
            chosen, rejected = pairs.values(model, batch).unbind(1)
            loss(chosen, rejected, *batch["lengths"].unbind(1), batch["start"]).mean().backward()
    return {"pairs_per_s": (gflop.get("frozen blocks", 0.0) + epochs * gflop["steps"]) / (epochs * len(rows))}


def published_way(folder: Path, rows: Dataset, epochs: int, attention: str) -> dict[str, float]:
    tokenizer = load_tokenizer(folder)
    model = published.GPTRewardModel(folder, tokenizer.pad_token_id, attention)
    model.freeze()
    training = TrainingArguments(
        output_dir=str(folder / "published"), per_device_train_batch_size=1, gradient_accumulation_steps=UPDATE,
        num_train_epochs=epochs, learning_rate=1e-5, warmup_steps=100, report_to="none", save_strategy="no",
        remove_unused_columns=False, **machine_arguments("reward_model/ds_config_gpt_j.json", dtype_for()),
    )  # fmt: skip
    clock = Clock()
    trainer = Trainer(
        model=model,
        args=training,
        train_dataset=published.PairwiseDataset(rows, tokenizer),
        data_collator=published.collate_pairs,
        callbacks=[clock],
    )
    trainer.train()
    return clock.rate("pairs", epochs * len(rows), UPDATE)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--rows", type=int, help=f"pairs of each run; {UPDATE} of them warm up")
    parser.add_argument("--epochs", type=int, default=1, help="default 1; the recipe has 5")
    parser.add_argument("--micro_batch", type=int, default=MICRO_BATCH, help="pairs a forward pass of ours")
    args = parser.parse_args()
    rows = args.rows or (2 if args.quick else 9) * UPDATE

    def work(folder: Path, side: str) -> dict[str, float]:
        launch.join_launch()
        if side == OURS:
            return ours(folder, workload.read(folder), args.epochs, args.micro_batch)
        return published_way(folder, workload.read(folder), args.epochs, published.ATTENTION[side])

    def count(folder: Path) -> dict[str, float]:
        return matrix_products(folder, workload.read(folder), args.epochs)

    def prepare(folder: Path) -> dict[str, str | int]:
        kind, found = workload.pairs(rows)
        workload.make(folder, found, args.family, **({"layers": 4} if args.quick else {}))
        sizes = {"update": UPDATE, "micro-batch of ours": args.micro_batch, "micro-batch of the published way": 1}
        return {"texts": kind, "pairs": rows, "epochs": args.epochs, **sizes}

    measure.compare("rm", args, prepare, work, "pairs_per_s", (OURS, PUBLISHED, FUSED), count)


if __name__ == "__main__":
    main()
