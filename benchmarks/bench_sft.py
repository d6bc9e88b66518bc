"""Compare stage 1's training loop with the published way (padded to 550, eager attention), in real tokens per second.

    python benchmarks/bench_sft.py [--quick] [--threads 1 2]

The published way runs a second time with torch's fused attention, all else alike. All train the same model on the same
rows with transformers' Trainer under DeepSpeed, in batches of 16, without activation checkpointing (the published
default has it and is slower still: `--checkpointing`). Real tokens are those of posts and summaries, without padding.
The first step of each run, in ours the one with the longest rows, is a warm-up and does not count.
"""

from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerFast, Trainer, TrainingArguments, default_data_collator

from benchmarks import machine, measure, published, workload
from benchmarks.measure import Clock
from benchmarks.raw import FUSED, OURS, PUBLISHED
from sft.loss import SupervisedLM
from sft.summarize_dataset import PadRight, TLDRDataset
from sft.train_gptj_summarize import SFTArguments, SFTTrainer
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.lm.weights import load_causal_lm
from summarize_rlhf.run import launch
from summarize_rlhf.run.metrics import MetricsFile
from summarize_rlhf.run.sampler import LengthGroupedSampler
from summarize_rlhf.run.trainer_arguments import machine_arguments, training_arguments
from summarize_rlhf.tokenizer import load_tokenizer

BATCH = 16


def ours(folder: Path, rows: Dataset, checkpointing: bool) -> dict[str, float]:
    """Train as `sft/train_gptj_summarize.py` does."""
    args = SFTArguments(
        per_device_train_batch_size=BATCH, global_batch_size=BATCH, gradient_checkpointing=checkpointing,
        num_train_epochs=1, report_to="none", eval_steps=10**6, save_steps=10**6,
    )  # fmt: skip
    training = training_arguments(args, folder / "ours", dtype_for())
    training.eval_strategy = "no"
    tokenizer, model = load_tokenizer(folder), load_causal_lm(folder)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    clock = Clock()
    dataset, sampler = data_of(rows, tokenizer, args.seed)
    trainer = SFTTrainer(
        model=SupervisedLM(model),
        args=training,
        train_dataset=dataset,
        data_collator=PadRight(tokenizer.pad_token_id),
        settings={},
        metrics=MetricsFile(folder / "ours"),
        minutes=None,
        order=sampler,
    )
    trainer.add_callback(clock)
    order = list(sampler)
    trainer.train()
    return clock.rate("tokens", sum(dataset.lengths), sum(dataset.lengths[i] for i in order[:BATCH]))


def data_of(rows: Dataset, tokenizer: PreTrainedTokenizerFast, seed: int) -> tuple[TLDRDataset, LengthGroupedSampler]:
    dataset = TLDRDataset(rows, tokenizer, published.WIDTH)
    return dataset, LengthGroupedSampler(dataset.lengths, BATCH, seed)


def matrix_products(folder: Path, rows: Dataset) -> dict[str, float]:
    """Count the operations of a token in the measured steps, in 10⁹: each row is computed alone, without padding."""
    tokenizer, model, gflop = load_tokenizer(folder), SupervisedLM(load_causal_lm(folder)).train(), {}
    dataset, sampler = data_of(rows, tokenizer, SFTArguments().seed)
    measured = list(sampler)[BATCH:]
    for i in measured:
        with machine.counted(gflop, "rows"):
            model(**PadRight(tokenizer.pad_token_id)([dataset[i]]))["loss"].backward()
    return {"tokens_per_s": gflop["rows"] / sum(dataset.lengths[i] for i in measured)}


def published_way(folder: Path, rows: Dataset, checkpointing: bool, attention: str) -> dict[str, float]:
    tokenizer, model = load_tokenizer(folder), published.load_model(folder, attention)
    training = TrainingArguments(
        output_dir=str(folder / "published"), per_device_train_batch_size=BATCH, num_train_epochs=1,
        learning_rate=1e-5, warmup_steps=100, adam_beta1=0.9, adam_beta2=0.95, report_to="none", save_strategy="no",
        gradient_checkpointing=checkpointing, **machine_arguments("sft/ds_config_gptj.json", dtype_for()),
    )  # fmt: skip
    clock = Clock()
    trainer = Trainer(
        model=model,
        args=training,
        train_dataset=published.TLDRDataset(rows, tokenizer),
        data_collator=default_data_collator,
        callbacks=[clock],
    )
    lengths = [min(len(tokenizer(f"{row['prompt']} {row['label']}").input_ids), published.WIDTH) for row in rows]
    trainer.train()
    # Every padded row costs the same, so warm-up rows count as average ones: the rate does not depend on chance.
    return clock.rate("tokens", sum(lengths), BATCH * sum(lengths) / len(lengths))


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--rows", type=int, help=f"rows of each run; {BATCH} of them warm up")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations, on both sides")
    args = parser.parse_args()
    rows = args.rows or (2 if args.quick else 7) * BATCH

    def work(folder: Path, side: str) -> dict[str, float]:
        launch.join_launch()
        if side == OURS:
            return ours(folder, workload.read(folder), args.checkpointing)
        return published_way(folder, workload.read(folder), args.checkpointing, published.ATTENTION[side])

    def count(folder: Path) -> dict[str, float]:
        return matrix_products(folder, workload.read(folder))

    def prepare(folder: Path) -> dict[str, str]:
        kind, found = workload.texts(rows)
        shape = {"layers": 2} if args.quick else {}
        workload.make(folder, found, args.family, **shape)
        return {"texts": kind, "rows": rows, "batch": BATCH, "checkpointing": args.checkpointing}

    measure.compare("sft", args, prepare, work, "tokens_per_s", (OURS, PUBLISHED, FUSED), count)


if __name__ == "__main__":
    main()
