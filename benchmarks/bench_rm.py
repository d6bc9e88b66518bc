"""Stage 2's training loop: the published way and ours, in pairs per second.

    python benchmarks/bench_rm.py [--quick]

Both train the top 30 % of the blocks of the same model on the same pairs with the Trainer of transformers, four
pairs an update, for five epochs as published. The published way computes both texts of one pair at a time, padded to
550 tokens, and its backward pass crosses the frozen blocks to reach the embeddings. Ours runs these once, before the
first epoch; that counts. The first update of each run is a warm-up and does not count.
"""

import tempfile
import time
from pathlib import Path

from datasets import Dataset
from transformers import Trainer, TrainingArguments

from benchmarks import measure, published, workload
from benchmarks.measure import Clock
from reward_model.comparison_dataset import encode_comparisons
from reward_model.frozen_trunk import keep_trunk
from reward_model.pairs import PackedPairs
from reward_model.reward_model import RewardModel
from reward_model.train_reward_model_gptj import (
    RewardArguments,
    RewardTrainer,
    several_epochs,
    training_arguments,
)
from summarize_rlhf import hardware
from summarize_rlhf.metrics import MetricsFile
from summarize_rlhf.sampler import LengthGroupedSampler
from summarize_rlhf.tokenizer import load_tokenizer

UPDATE = 4  # pairs an optimizer step


def ours(folder: Path, rows: Dataset, epochs: int) -> dict[str, float]:
    """The trainer of stage 2 as `reward_model/train_reward_model_gptj.py` makes it."""
    args = RewardArguments(
        per_device_train_batch_size=UPDATE, global_batch_size=UPDATE, num_train_epochs=epochs, report_to="none",
        eval_steps=10**6, save_steps=10**6,
    )  # fmt: skip
    training = training_arguments(args, folder / "ours")
    training.eval_strategy = "no"
    tokenizer, model = load_tokenizer(folder), RewardModel.from_causal_lm(folder)
    model.freeze(args.trainable_fraction)
    pairs, data = PackedPairs(tokenizer.pad_token_id), {"train": encode_comparisons(rows, tokenizer, published.WIDTH)}
    lengths = data["train"]["length"][:]
    start = time.perf_counter()
    if several_epochs(args, len(rows)):
        with tempfile.TemporaryDirectory(dir=folder) as cache:  # anew in each repeat
            data = keep_trunk(model, data, pairs, Path(cache), training, args.trunk_cache_gb)
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
    trainer.add_callback(clock)
    trainer.train()
    return clock.rate("pairs", epochs * len(rows), UPDATE, frozen) | {"frozen_blocks_s": frozen}


def published_way(folder: Path, rows: Dataset, epochs: int) -> dict[str, float]:
    tokenizer = load_tokenizer(folder)
    model = published.GPTRewardModel(folder, tokenizer.pad_token_id)
    model.freeze()
    training = TrainingArguments(
        output_dir=str(folder / "published"), per_device_train_batch_size=1, gradient_accumulation_steps=UPDATE,
        num_train_epochs=epochs, learning_rate=1e-5, warmup_steps=100, report_to="none", save_strategy="no",
        remove_unused_columns=False, **hardware.trainer_arguments("reward_model/ds_config_gpt_j.json"),
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
    parser.add_argument("--epochs", type=int, help="default 5, quick 2")
    args = parser.parse_args()
    rows = args.rows or (3 if args.quick else 9) * UPDATE
    epochs = args.epochs or (2 if args.quick else 5)

    def work(folder: Path, side: str) -> dict[str, float]:
        hardware.join_launch()
        return {"ours": ours, "published": published_way}[side](folder, workload.read(folder), epochs)

    def prepare(folder: Path) -> dict[str, str]:
        kind, found = workload.pairs(rows)
        workload.make(folder, found, args.family, **({"layers": 4} if args.quick else {}))
        return {"texts": kind, "pairs": rows, "epochs": epochs, "update": UPDATE}

    measure.compare("rm", args, prepare, work, rate="pairs_per_s")


if __name__ == "__main__":
    main()
