"""One way to load a tokenizer, and one hash that says whether two of them are the same."""

import hashlib
import json
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from summarize_rlhf.errors import UserError
from summarize_rlhf.hub import is_local, unreachable, use_hub

FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")  # one of which has the tokens
# Letters, digits, blanks, line ends, a contraction, non-ASCII, the markers: what tokenizers disagree about.
PROBE = "<|startoftext|>SUBREDDIT: r/test\nTITLE: I'm 24,  née Ω\nPOST: 10 dollars?\n\nTL;DR: ok<|endoftext|>"


def load_tokenizer(path: str | Path, **options) -> PreTrainedTokenizerFast:
    """The tokenizer of a directory or Hub id, ready for training: padded on the right, pad = EOS if it has no pad.

    Pad may therefore equal EOS; masks come from lengths, never from comparing ids. Raises ``UserError`` where
    there is no tokenizer, no EOS, or only a slow tokenizer (cutting posts needs character offsets).
    """
    if not is_local(path):
        use_hub()
    elif not any((Path(path) / name).is_file() for name in FILES):  # transformers would make up an empty one
        raise UserError(f"no usable tokenizer in {path}: tokenizer.json and tokenizer_config.json expected")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), **options)
    except Exception as error:
        if Path(path).exists():  # tokenizers raises a bare Exception for a damaged file
            raise UserError(
                f"no usable tokenizer in {path}: tokenizer.json and tokenizer_config.json expected ({error})"
            ) from error
        if isinstance(error, OSError | ValueError | KeyError):
            raise unreachable("tokenizer", path, error) from error
        raise
    if not tokenizer.is_fast:
        raise UserError(f"{path} has only a slow tokenizer; a tokenizer.json (fast tokenizer) is needed")
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {path} has no EOS token; a summary could never end. Set eos_token in it")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def tokenizer_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of the vocabulary, the EOS and pad ids and the ids of a probe text.

    Two tokenizers with the same hash give the same ids. Padding side and truncation state do not enter.
    """
    ids = tokenizer(PROBE, padding=False, truncation=False).input_ids
    content = [sorted(tokenizer.get_vocab().items()), tokenizer.eos_token_id, tokenizer.pad_token_id, ids]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
