"""Make the small GPT-J of the quickstart: a byte-level BPE, and a model that has read posts but no summaries.

    python -m quickstart.make_model [--out quickstart/model] [--seed 0] [--steps 1300]

About 12 minutes on two cores. Its posts come from other seeds than the data set's, and none is in the data set;
the answers below them (`quickstart/retelling.py`) are not summaries. So stage 1 still has to teach summarising.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedTokenizerFast

from quickstart.make_data import new_post
from quickstart.posts import human_plan, write_summary
from quickstart.retelling import write_thread

DATA = Path(__file__).parent / "data"
END = "<|endoftext|>"
VOCABULARY = 2000  # at most; fewer if the world has fewer words
TOKENIZER_POSTS = 6000
BATCH = 32  # threads an optimizer step
BUCKET = 16  # batches that are sorted by length together
LR, WARMUP, DECAY, CLIP = 1e-3, 60, 0.01, 1.0
SHAPE = {"n_layer": 4, "n_embd": 192, "n_head": 6, "rotary_dim": 16, "n_positions": 1024}


def published_bodies() -> set[str]:
    """Read the bodies of all posts in the data set, which the model must not have read."""
    bodies = set()
    for path in sorted(DATA.glob("*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            bodies.add(json.loads(line)["prompt"].removesuffix("\nTL;DR:"))
    return bodies


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE with GPT-2's word splitting; END is its only special token (bos, eos and pad)."""
    rng, seen = random.Random(f"{seed} tokenizer"), published_bodies()

    def texts() -> Iterator[str]:
        for _ in range(TOKENIZER_POSTS):
            post = new_post(rng, seen)
            yield write_thread(rng, post)
            yield f"\nTL;DR: {write_summary(rng, post.facts, human_plan(rng), post.sentences)}"

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


def batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (input_ids, labels), both (BATCH, T), forever: fresh threads of similar length; padding has label -100."""
    rng, seen = random.Random(f"{seed} reading"), published_bodies()
    while True:
        threads = [write_thread(rng, new_post(rng, seen)) + END for _ in range(BATCH * BUCKET)]
        rows = sorted(tokenizer(threads).input_ids, key=len)
        starts = list(range(0, len(rows), BATCH))
        rng.shuffle(starts)
        for start in starts:
            chunk = rows[start : start + BATCH]
            longest = len(chunk[-1])
            ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in chunk])
            labels = torch.tensor([row + [-100] * (longest - len(row)) for row in chunk])
            yield ids, labels


def learning_rate(step: int, steps: int) -> float:
    """Return the learning rate: linear warm-up, then half a cosine down to a tenth."""
    if step < WARMUP:
        return LR * (step + 1) / WARMUP
    return LR * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP))))


def pretrain(tokenizer: PreTrainedTokenizerFast, seed: int, steps: int) -> tuple[GPTJForCausalLM, float]:
    """Train for `steps` optimizer steps; return the model and its loss (nats a token, mean of the last 20 steps)."""
    torch.manual_seed(seed)
    config = GPTJConfig(
        **SHAPE,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPTJForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=DECAY)
    losses: list[float] = []
    bar = tqdm(zip(range(steps), batches(tokenizer, seed), strict=False), total=steps, desc="reading posts")
    for step, (ids, labels) in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        # Padding stands on the right and is never a label: the causal mask alone is enough.
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}")
    return model.eval(), sum(losses[-20:]) / len(losses[-20:])


PROVENANCE = """# Where this model comes from

Made by `{command}` from text that `quickstart/` generates; nothing else went in. Figures are written by the script.

| | |
| --- | --- |
| seed | {seed} |
| steps × batch | {steps} × {batch} threads |
| learning rate | {lr}, warm-up {warmup} steps, cosine to a tenth |
| parameters | {parameters:,} ({shape}) |
| vocabulary | {vocabulary} byte-level BPE tokens, `{end}` the only special one |
| final loss | {loss:.4f} nats a token (mean of the last 20 steps) |
| time | {seconds:.0f} s on {threads} CPU threads |
| versions | {versions} |
| weights | stored in fp16; load them in fp32 |
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
    parser.add_argument("--steps", type=int, default=1300, help="optimizer steps")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    started = time.perf_counter()
    tokenizer = make_tokenizer(args.seed)
    model, loss = pretrain(tokenizer, args.seed, args.steps)
    provenance = PROVENANCE.format(
        command=f"python -m quickstart.make_model --seed {args.seed} --steps {args.steps}",
        seed=args.seed,
        steps=args.steps,
        batch=BATCH,
        lr=LR,
        warmup=WARMUP,
        parameters=sum(p.numel() for p in model.parameters()),
        shape=", ".join(f"{k} {v}" for k, v in SHAPE.items()),
        vocabulary=len(tokenizer),
        end=END,
        loss=loss,
        seconds=time.perf_counter() - started,
        threads=args.threads,
        versions=", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers")),
    )
    save(args.out, model, tokenizer, provenance)
    print(provenance)


if __name__ == "__main__":
    main()
