"""Teach the quickstart's small model to read: words in lists, posts of their gist alone, then whole posts.

Shown whole posts at once, such a small model does not learn within our patience to compare what is claimed with what
stands above it.
"""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from tqdm import tqdm
from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedTokenizerFast

from quickstart.make_data import new_post
from quickstart.posts import draw_facts, write_post
from quickstart.retelling import READ, Pieces, write_list, write_thread
from summarize_rlhf.lm.speed import tune_model

DATA = Path(__file__).parent / "data"
SHAPE = {"n_layer": 4, "n_embd": 128, "n_head": 4, "rotary_dim": 16, "n_positions": 1024}
LR, WARMUP, DECAY, CLIP = 1.2e-3, 60, 0.01, 1.0
STRONG = 3.0  # times the usual initial weights, see `begin_with_reading`
END_WEIGHT = 0.5  # of the end of a text, in the loss
BUCKET = 8  # batches that are sorted by length together
RECENT = 25  # steps that figures are averaged over


@dataclass(frozen=True)
class Phase:
    """A kind of text, threads an optimizer step, most steps, and the share of right answers that ends it early."""

    text: str
    batch: int
    steps: int
    enough: float = 1.0


PHASES = (Phase("lists", 32, 400, 0.98), Phase("short posts", 48, 400, 0.98), Phase("posts", 32, 300))


def published_bodies() -> set[str]:
    """Read the bodies of all posts in the data set, which the model must not have read."""
    bodies = set()
    for path in sorted(DATA.glob("*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            bodies.add(json.loads(line)["prompt"].removesuffix("\nTL;DR:"))
    return bodies


def encode(tokenizer: PreTrainedTokenizerFast, pieces: Pieces) -> tuple[list[int], list[float]]:
    """Tokenize a text, the end of text behind it; return its tokens and their weights in the loss.

    A piece begins where GPT-2's splitting begins a word, so its tokens are those of the whole text.
    """
    tokens: list[int] = []
    weights: list[float] = []
    for (_, weight), ids in zip(pieces, tokenizer([text for text, _ in pieces]).input_ids, strict=True):
        tokens += ids
        weights += [weight] * len(ids)
    return [*tokens, tokenizer.eos_token_id], [*weights, END_WEIGHT]


def new_text(rng: random.Random, seen: set[str], kind: str) -> Pieces:
    """Write a text of a `Phase`; `seen`: bodies that must not be written."""
    if kind == "lists":
        return write_list(rng)
    if kind == "short posts":
        return write_thread(rng, write_post(rng, draw_facts(rng), rng.choice((0.0, 0.3, 0.6)), 0))
    return write_thread(rng, new_post(rng, seen))


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, phase: Phase) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (input_ids, weights), both (phase.batch, T), forever: fresh texts of similar length; padding weighs 0."""
    rng, seen = random.Random(f"{seed} {phase.text}"), published_bodies()
    while True:
        rows = [encode(tokenizer, new_text(rng, seen, phase.text)) for _ in range(phase.batch * BUCKET)]
        rows.sort(key=lambda row: len(row[0]))
        starts = list(range(0, len(rows), phase.batch))
        rng.shuffle(starts)
        for start in starts:
            chunk = rows[start : start + phase.batch]
            longest = len(chunk[-1][0])
            pad = tokenizer.pad_token_id
            yield (
                torch.tensor([tokens + [pad] * (longest - len(tokens)) for tokens, _ in chunk]),
                torch.tensor([weights + [0.0] * (longest - len(weights)) for _, weights in chunk]),
            )


def begin_with_reading(model: GPTJForCausalLM) -> None:
    """Let heads begin as if they had learned to find a word again, and to say what they find.

    In all blocks but the first: in half of the heads the keys get the queries' weights, `STRONG` times the usual ones,
    so q·k is largest where the same word stands; in the other half the way out is the way in turned round, so a head
    adds what it attends to. Tokens are read and said by the same weights. A model that begins so learns look-ups and
    comparisons in a few hundred steps; training is free to undo it.
    """
    with torch.no_grad():
        model.lm_head.weight.copy_(model.transformer.wte.weight)
        model.lm_head.bias.zero_()
        for block in model.transformer.h[1:]:
            attention, half = block.attn, model.config.n_embd // 2
            attention.q_proj.weight[:half] *= STRONG
            attention.k_proj.weight[:half] = attention.q_proj.weight[:half]
            attention.v_proj.weight[half:] *= STRONG
            attention.out_proj.weight[:, half:] = attention.v_proj.weight[half:].T


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> GPTJForCausalLM:
    """Make the model as it is before it has read anything."""
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
    begin_with_reading(model)
    return tune_model(model)


def learning_rate(step: int, last_phase: int, steps: int) -> float:
    """Return the learning rate: linear warm-up, constant, in the last phase half a cosine down to a tenth.

    `step` counts all steps, `last_phase` those of the last phase (0 before it), which has `steps`.
    """
    warm = min(1.0, (step + 1) / WARMUP)
    return LR * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * last_phase / steps)))


def read(model: GPTJForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return the weighted loss in nats a token, and the share of right answers where the post had to be read.

    `ids`, `weights`: (B, T). Padding stands on the right and weighs nothing: the causal mask alone is enough.
    """
    hidden = model.transformer(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    counted = weights[:, 1:] > 0
    logits, targets, weight = model.lm_head(hidden[counted]), ids[:, 1:][counted], weights[:, 1:][counted]
    nats = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    right = (logits.detach().argmax(-1) == targets)[weight == READ].float().mean()
    return (nats * weight).sum() / weight.sum(), right.item()


def pretrain(
    tokenizer: PreTrainedTokenizerFast, seed: int, phases: tuple[Phase, ...] = PHASES
) -> tuple[GPTJForCausalLM, list[dict]]:
    """Train in `phases`; return the model, and each phase's steps, loss and share of right answers (see `read`)."""
    model = new_model(tokenizer, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=DECAY)
    done, record = 0, []
    for phase in phases:
        figures: list[tuple[float, float]] = []
        texts = batches(tokenizer, seed, phase)
        with tqdm(range(phase.steps), desc=f"reading {phase.text}") as bar:
            for step in bar:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(done, step if phase is phases[-1] else 0, phase.steps)
                loss, right = read(model, *next(texts))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                done += 1
                figures.append((loss.item(), right))
                recent = [fmean(column) for column in zip(*figures[-RECENT:], strict=True)]
                bar.set_postfix(loss=f"{recent[0]:.3f}", right=f"{recent[1]:.3f}")
                if step >= RECENT and recent[1] > phase.enough:
                    break
        row = {"text": phase.text, "texts a step": phase.batch, "steps": len(figures)}
        record.append(row | {"loss": recent[0], "right answers": recent[1]})
    return model.eval(), record
