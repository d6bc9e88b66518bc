"""Compute the disk space of the reward model's frozen blocks' outputs with GPT-J 6B and the published comparisons.

    TLDR_DATA_DIR=… python -m benchmarks.trunk_cache --out docs/results/benchmarks/trunk_cache.json

Tokens a pair are measured on the real pairs of `TLDR_DATA_DIR` with GPT-2's tokenizer, which is GPT-J's. The numbers of
pairs are those of the dataset's page, https://huggingface.co/datasets/CarperAI/openai_summarize_comparisons.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import datasets
from transformers import GPT2TokenizerFast, GPTJConfig

from benchmarks.measure import machine
from reward_model.comparisons import encode_comparisons
from reward_model.train_reward_model_gptj import RewardArguments

TRAIN_PAIRS = 92_500  # "92.5k rows"
BYTES = 2  # of a number, in the published half precision


def sizes(data: Path) -> dict[str, float]:
    args, config = RewardArguments(), GPTJConfig()  # whose defaults are those of the 6B model
    folder = data / "gpt2_tokenizer"
    tokenizer = GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.pad_token = tokenizer.eos_token
    files = {split: str(data / "openai_summarize_comparisons" / f"{split}.jsonl") for split in ("train", "test")}
    lengths: list[int] = []
    for rows in datasets.load_dataset("json", data_files=files).values():
        lengths += encode_comparisons(rows, tokenizer, args.max_length)["length"][:]
    tokens, pairs = sum(lengths) / len(lengths), TRAIN_PAIRS + args.max_eval_rows
    return {
        "train pairs": TRAIN_PAIRS, "test pairs": args.max_eval_rows, "tokens a pair": round(tokens, 1),
        "pairs measured": len(lengths), "hidden": config.n_embd, "bytes": BYTES,
        "gigabytes": round(pairs * tokens * config.n_embd * BYTES / 1e9, 1), "limit, GB": args.trunk_cache_gb,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    args = parser.parse_args()
    if "TLDR_DATA_DIR" not in os.environ:
        sys.exit("TLDR_DATA_DIR: a folder with openai_summarize_comparisons/ and gpt2_tokenizer/ is needed")
    record = {"bench": "trunk_cache", **sizes(Path(os.environ["TLDR_DATA_DIR"])), "machine": machine()}
    if args.out:
        args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
