"""Small models, tokenizers and data for the tests, made by functions in milliseconds; nothing is downloaded."""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GPT2Config, GPTJConfig, PreTrainedTokenizerFast

EOS = "<|endoftext|>"
WORDS = "cat sister boss car moved broke lost found asked wants money house train week never again today so".split()  # noqa: SIM905


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words)).capitalize() + "."


def tldr_row(rng: random.Random, words: int = 20) -> dict[str, str]:
    """A row of the TL;DR schema whose summary is the post's first sentence."""
    first = sentence(rng, 5)
    post = " ".join([first, sentence(rng, rng.randint(words, words + words // 2))])
    return {"prompt": f"SUBREDDIT: r/pets\nTITLE: {sentence(rng, 3)}\nPOST: {post}\nTL;DR:", "label": first}


def comparison_row(rng: random.Random, words: int = 20) -> dict[str, str]:
    """A row of the comparisons schema: the first sentence is chosen over another one."""
    row = tldr_row(rng, words)
    body = row["prompt"].removesuffix("\nTL;DR:")
    return {"prompt": body, "chosen": f"TL;DR: {row['label']}", "rejected": f"TL;DR: {sentence(rng, 6)}"}


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def forget_files(directory: Path) -> None:
    """Take the files' hashes out of a run.json, as somebody may who changes a file on purpose."""
    record = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    (directory / "run.json").write_text(json.dumps(record | {"files": {}}), encoding="utf-8")


def make_tldr(
    directory: Path, train: int = 64, valid: int = 16, test: int = 16, words: int = 20, seed: int = 0
) -> Path:
    """A directory with {train,valid,test}.jsonl of the TL;DR schema."""
    rng = random.Random(seed)
    for split, rows in (("train", train), ("valid", valid), ("test", test)):
        write_rows(directory / f"{split}.jsonl", [tldr_row(rng, words) for _ in range(rows)])
    return directory


def make_comparisons(directory: Path, train: int = 48, test: int = 16, words: int = 20, seed: int = 0) -> Path:
    """A directory with {train,test}.jsonl of the comparisons schema."""
    rng = random.Random(seed)
    for split, rows in (("train", train), ("test", test)):
        write_rows(directory / f"{split}.jsonl", [comparison_row(rng, words) for _ in range(rows)])
    return directory


def make_tokenizer(pad: str | None = None, vocab_size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2 has it, trained on rows of this module. Without ``pad`` it has no pad token."""
    rng = random.Random(0)
    rows = [tldr_row(rng) for _ in range(50)]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS] + ([pad] if pad else []),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([f"{row['prompt']} {row['label']}" for row in rows], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=EOS,
        eos_token=EOS,
        pad_token=pad,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def gptj_config(vocab_size: int, layers: int = 2, width: int = 32, positions: int = 256) -> GPTJConfig:
    return GPTJConfig(
        vocab_size=vocab_size,
        n_positions=positions,
        n_embd=width,
        n_layer=layers,
        n_head=2,
        rotary_dim=8,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )


def gpt2_config(vocab_size: int, layers: int = 2, width: int = 32, positions: int = 256) -> GPT2Config:
    return GPT2Config(
        vocab_size=vocab_size,
        n_positions=positions,
        n_embd=width,
        n_layer=layers,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )


def make_model_dir(
    directory: Path, config=None, tokenizer: PreTrainedTokenizerFast | None = None, seed: int = 0
) -> Path:
    """A model directory with random weights and its tokenizer, as ``save_pretrained`` writes it; by default a GPT-J."""
    tokenizer = tokenizer or make_tokenizer()
    config = config or gptj_config(len(tokenizer))
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
