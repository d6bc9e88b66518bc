"""Make the workload of every benchmark: model, tokenizer, and texts with the lengths of Reddit posts.

The model is a GPT-J (or NeoX, Llama, GPT-2) of 8 layers × 256 with random weights from a seed. Texts are real TL;DR
rows where `TLDR_DATA_DIR` names a folder with them; else words of the quickstart's vocabulary, with posts and
summaries as long as real ones. The tokenizer is a byte-level BPE of 2,000 tokens, trained on these very texts.
"""

import json
import os
import random
from pathlib import Path

import datasets
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from summarize_rlhf.data import write_rows

ROOT = Path(__file__).resolve().parents[1]
EOS = "<|endoftext|>"
VOCABULARY = 2000
POSITIONS = 1024
ROWS = "rows.jsonl"
# A vocabulary of 2,000 splits words into more tokens than GPT-2's 50,257. With this share of each real post the rows
# are as long in tokens as with GPT-2's: 319 in the mean, 58 % of the 550 that the published code pads to.
POST_SHARE = 0.75
# Words of synthetic posts and summaries, log-normal: median and spread. They give the same lengths in tokens.
POST_WORDS = (172, 0.5)
SUMMARY_WORDS = (17, 0.55)


def texts(rows: int, seed: int = 0, shorten: bool = True) -> tuple[str, list[dict[str, str]]]:
    """Return "real" or "synthetic", and `rows` rows with `prompt` and `label`, as in the TL;DR data."""
    folder = os.environ.get("TLDR_DATA_DIR")
    if not folder:
        return "synthetic", synthetic(rows, seed)
    with open(Path(folder) / "openai_summarize_tldr" / "train.jsonl", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    random.Random(seed).shuffle(found)
    cut = shortened if shorten else str
    return "real", [{"prompt": cut(row["prompt"]), "label": row["label"].strip()} for row in found[:rows]]


def pairs(rows: int, seed: int = 0) -> tuple[str, list[dict[str, str]]]:
    """Do the same for comparisons: `prompt`, `chosen` and `rejected`. Real ones repeat where there are too few."""
    folder = os.environ.get("TLDR_DATA_DIR")
    if not folder:
        one, other = synthetic(rows, seed), synthetic(rows, seed + 1)
        return "synthetic", [as_pair(a["prompt"], a["label"], b["label"]) for a, b in zip(one, other, strict=True)]
    with open(Path(folder) / "openai_summarize_comparisons" / "train.jsonl", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    random.Random(seed).shuffle(found)
    made = [as_pair(shortened(f"{row['prompt']}\nTL;DR:"), row["chosen"], row["rejected"]) for row in found]
    return "real", [made[i % len(made)] for i in range(rows)]


def as_pair(prompt: str, chosen: str, rejected: str) -> dict[str, str]:
    """Build a row of the comparisons schema: the post without "TL;DR:", which both summaries begin with."""
    tldr = "TL;DR:"
    both = (f"{tldr} {summary.removeprefix(tldr).strip()}" for summary in (chosen, rejected))
    return {"prompt": prompt.removesuffix(f"\n{tldr}"), **dict(zip(("chosen", "rejected"), both, strict=True))}


def shortened(prompt: str) -> str:
    """Keep the first `POST_SHARE` of a prompt's words, and its "TL;DR:"."""
    words = prompt.removesuffix("\nTL;DR:").split(" ")
    return " ".join(words[: max(1, int(POST_SHARE * len(words)))]) + "\nTL;DR:"


def synthetic(rows: int, seed: int) -> list[dict[str, str]]:
    """Draw rows of the quickstart's words in random order, as long as real rows."""
    rng = random.Random(seed)
    vocabulary = (ROOT / "quickstart/data/openai_summarize_tldr/valid.jsonl").read_text(encoding="utf-8").split()

    def words(median: int, spread: float) -> str:
        return " ".join(rng.choices(vocabulary, k=max(3, round(median * rng.lognormvariate(0, spread)))))

    return [
        {
            "prompt": f"SUBREDDIT: r/advice\nTITLE: {words(9, 0.3)}\nPOST: {words(*POST_WORDS)}\nTL;DR:",
            "label": words(*SUMMARY_WORDS),
        }
        for _ in range(rows)
    ]


def make_tokenizer(texts: list[str], size: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE like GPT-2's, of at most `size` tokens, on these texts; EOS is also its pad token."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, size, special_tokens=[EOS], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=EOS, bos_token=EOS, pad_token=EOS)


def model_config(family: str = "gptj", layers: int = 8, width: int = 256, heads: int = 8) -> PretrainedConfig:
    """Return the benchmark's shape in one of five families, all of about 7.4 M parameters."""
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "vocab_size": VOCABULARY}
    none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    if family == "gptj":
        return GPTJConfig(
            n_layer=layers, n_embd=width, n_head=heads, rotary_dim=16, n_positions=POSITIONS,
            tie_word_embeddings=False, **none, **ids,
        )  # fmt: skip
    if family == "gpt2":
        return GPT2Config(n_layer=layers, n_embd=width, n_head=heads, n_positions=POSITIONS, **none, **ids)
    common = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    common |= {"max_position_embeddings": POSITIONS, "tie_word_embeddings": False} | ids
    if family == "gpt_neox":
        return GPTNeoXConfig(intermediate_size=4 * width, **common)
    if family == "llama":
        return LlamaConfig(intermediate_size=8 * width // 3, **common)
    if family == "qwen3":
        own = {"head_dim": width // heads, "num_key_value_heads": heads}
        return Qwen3Config(intermediate_size=8 * width // 3, **own, **common)
    raise ValueError(f"no shape for the family {family!r}; known: gptj, gpt2, gpt_neox, llama, qwen3")


def make(folder: Path, rows: list[dict[str, str]], family: str = "gptj", seed: int = 0, **shape) -> None:
    """Write into `folder`: a model with random weights (`shape` as in `model_config`), a tokenizer, and the rows."""
    texts = [" ".join(row.values()) for row in rows]
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(model_config(family, **shape)).save_pretrained(folder)
    make_tokenizer(texts).save_pretrained(folder)
    write_rows(folder / ROWS, rows)


def read(folder: Path) -> datasets.Dataset:
    """Read the rows that `make` wrote."""
    with open(folder / ROWS, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    info = datasets.DatasetInfo(dataset_name="benchmark")
    return datasets.Dataset.from_list(rows, info=info, split=datasets.NamedSplit("train"))
