"""Make the small GPT-J of the quickstart: a byte-level BPE, and a model that has read posts but no summaries.

    python -m quickstart.make_model [--out quickstart/model] [--seed 0]

Its posts come from other seeds than the data set's, and none is in the data set; the answers below them
(`quickstart/retelling.py`) are not summaries. So stage 1 still has to teach summarising.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTJForCausalLM, PreTrainedTokenizerFast

from quickstart.make_data import VERSION, new_post
from quickstart.posts import write_label
from quickstart.pretrain import LR, SHAPE, WARMUP, pretrain, published_bodies
from quickstart.retelling import write_list, write_thread
from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.report import format_table

END = "<|endoftext|>"
VOCABULARY = 2000  # at most; fewer if the world has fewer words
TOKENIZER_POSTS = 6000


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE with GPT-2's word splitting; END is its only special token (bos, eos and pad)."""
    rng, seen = random.Random(f"{seed} tokenizer"), published_bodies()

    def texts() -> Iterator[str]:
        for _ in range(TOKENIZER_POSTS):
            post = new_post(rng, seen)
            for pieces in (write_thread(rng, post), write_list(rng)):
                yield "".join(text for text, _ in pieces)
            yield f"\nTL;DR: {write_label(rng, post)}"

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        model_max_length=SHAPE["n_positions"],
        clean_up_tokenization_spaces=False,
    )


PROVENANCE = """# Where this model comes from

Made by `{command}` from text that `quickstart/` generates; nothing else went in. Figures are written by the script.

| | |
| --- | --- |
| seed | {seed} |
| generator | version {generator} |
| learning rate | {lr}, warm-up {warmup} steps, in the last phase cosine to a tenth |
| parameters | {parameters:,} ({shape}) |
| vocabulary | {vocabulary} byte-level BPE tokens, `{end}` the only special one |
| time | {seconds:.0f} s on {threads} CPU threads |
| versions | {versions} |
| weights | stored in fp16; load them in fp32 |

{phases}
"""


def save(out: Path, model: GPTJForCausalLM, tokenizer: PreTrainedTokenizerFast, provenance: str) -> None:
    """Write a directory that `AutoModelForCausalLM` and `AutoTokenizer` load."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"  # fp16 is for the disk only
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(out)
    (out / "PROVENANCE.md").write_text(provenance, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model", help="directory to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    args = parser.parse_args()
    tune_process()
    torch.set_num_threads(args.threads)
    started = time.perf_counter()
    tokenizer = make_tokenizer(args.seed)
    model, record = pretrain(tokenizer, args.seed)
    provenance = PROVENANCE.format(
        command=f"python -m quickstart.make_model --seed {args.seed} --threads {args.threads}",
        seed=args.seed,
        generator=VERSION,
        lr=LR,
        warmup=WARMUP,
        parameters=sum(p.numel() for p in model.parameters()),
        shape=", ".join(f"{k} {v}" for k, v in SHAPE.items()),
        vocabulary=len(tokenizer),
        end=END,
        seconds=time.perf_counter() - started,
        threads=args.threads,
        versions=", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers")),
        phases=format_table(record),
    )
    save(args.out, model, tokenizer, provenance)
    print(provenance)


if __name__ == "__main__":
    main()
