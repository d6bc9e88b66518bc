"""Compare stages 1 and 2 with TRL's SFTTrainer and RewardTrainer (pip install trl==1.16.0), on the same model and rows.

    python benchmarks/bench_trl.py --stage sft [--family gpt_neox] [--quick]
    python benchmarks/bench_trl.py --stage rm  [--epochs 5]

TRL runs in its fastest CPU setting: batches grouped by length, no activation checkpointing, no packing (which needs
flash attention), the embeddings of the reward model frozen like ours; both take four pairs a forward pass.
`--trl_attention eager` is how GPT-J ran before transformers 5.24 gave it fused attention. Ours is what the stages run.
The first step warms up and does not count.
"""

import argparse
from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from benchmarks import bench_rm, bench_sft, measure, workload
from benchmarks.measure import Clock
from benchmarks.published import WIDTH, rm_text
from benchmarks.raw import OURS
from summarize_rlhf.run import launch
from summarize_rlhf.tokenizer import load_tokenizer

FAST = {
    "num_train_epochs": 1, "learning_rate": 1e-5, "warmup_steps": 100, "report_to": "none", "save_strategy": "no",
    "max_length": WIDTH, "gradient_checkpointing": False, "bf16": False, "train_sampling_strategy": "group_by_length",
    "logging_steps": 1000, "dataloader_pin_memory": False,
}  # fmt: skip


def sft_by_trl(folder: Path, rows: Dataset, attention: str) -> dict[str, float]:
    from trl import SFTConfig, SFTTrainer

    tokenizer = load_tokenizer(folder)
    texts = [f"{row['prompt']} {row['label']}" for row in rows]
    clock = Clock()
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention),
        args=SFTConfig(output_dir=str(folder / "trl"), per_device_train_batch_size=bench_sft.BATCH, **FAST),
        train_dataset=Dataset.from_dict({"text": texts}),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    order = list(trainer._get_train_sampler())
    trainer.train()
    return clock.rate("tokens", sum(lengths), sum(lengths[i] for i in order[: bench_sft.BATCH]))


def rm_by_trl(folder: Path, rows: Dataset, attention: str, epochs: int) -> dict[str, float]:
    from trl import RewardConfig, RewardTrainer

    tokenizer = load_tokenizer(folder)
    sides = {side: [rm_text(f"{row['prompt']}\n{row[side]}") for row in rows] for side in ("chosen", "rejected")}
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, attn_implementation=attention)
    model.config.pad_token_id = tokenizer.pad_token_id
    freeze(model.base_model)
    clock = Clock()
    options = FAST | {"num_train_epochs": epochs, "train_sampling_strategy": "random"}  # pairs cannot be grouped there
    trainer = RewardTrainer(
        model,
        args=RewardConfig(output_dir=str(folder / "trl"), per_device_train_batch_size=bench_rm.UPDATE, **options),
        train_dataset=Dataset.from_dict(sides),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.train()
    return clock.rate("pairs", epochs * len(rows), bench_rm.UPDATE)


def freeze(base) -> None:
    """Freeze embeddings and the lower 70 % of the blocks, as stage 2 does."""
    from reward_model.reward_model import RewardModel

    RewardModel(base).freeze(0.3)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--stage", choices=["sft", "rm"], default="sft")
    parser.add_argument("--rows", type=int, help="rows or pairs of each run")
    parser.add_argument("--epochs", type=int, default=1, help="of --stage rm; the recipe has 5")
    parser.add_argument("--trl_attention", choices=["sdpa", "eager"], default="sdpa")
    args = parser.parse_args()
    batch = bench_sft.BATCH if args.stage == "sft" else bench_rm.UPDATE
    rows = args.rows or (3 if args.quick else 9) * batch

    def work(folder: Path, side: str) -> dict[str, float]:
        return measured(folder, side, args)

    def prepare(folder: Path) -> dict[str, object]:
        kind, found = (workload.texts if args.stage == "sft" else workload.pairs)(rows)
        workload.make(folder, found, args.family, **({"layers": 4} if args.quick else {}))
        return {"texts": kind, "rows": rows, "batch": batch, "epochs": args.epochs, "TRL": args.trl_attention}

    rate = "tokens_per_s" if args.stage == "sft" else "pairs_per_s"
    measure.compare(f"trl_{args.stage}", args, prepare, work, rate, (OURS, "trl"))


def measured(folder: Path, side: str, args: argparse.Namespace) -> dict[str, float]:
    rows = workload.read(folder)
    if side == "trl" and args.stage == "sft":
        return sft_by_trl(folder, rows, args.trl_attention)
    if side == "trl":
        return rm_by_trl(folder, rows, args.trl_attention, args.epochs)
    launch.join_launch()
    if args.stage == "sft":
        return bench_sft.ours(folder, rows, checkpointing=False)
    return bench_rm.ours(folder, rows, args.epochs, micro_batch=bench_rm.UPDATE)  # as TRL has it here


if __name__ == "__main__":
    main()
