"""One way to load a tokenizer, one way from text to ids, and one hash that says whether two tokenizers are the same.

Every stage reads a text as the ids

    [ prefix | text ]

The *prefix* is what the tokenizer's own post-processor puts before a text: the BOS of Llama, Mistral, Gemma and OPT,
and nothing for GPT-2 and GPT-J. What a post-processor puts behind a text (an EOS) is left out: a prompt goes on, and
a summary's EOS is added by the stage that trains it. The text itself is text: a post that spells ``</s>`` or
``<|endoftext|>`` is read as those characters, never as the control token of that name.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from summarize_rlhf import UserError
from summarize_rlhf.hub import from_hub, is_local, use_hub
from summarize_rlhf.reading import reading

FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")  # one of which has the tokens
# Letters, digits, blanks, line ends, a contraction, non-ASCII, the markers: what tokenizers disagree about.
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
PROBE = "<|startoftext|>SUBREDDIT: r/test\nTITLE: I'm 24,  née Ω\nPOST: 10 dollars?\n\nTL;DR: ok<|endoftext|>"


def load_tokenizer(path: str | Path, **options) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a directory or Hub id for training: padding on the right, with the EOS if it has no pad.

    Pad may therefore equal EOS; masks come from lengths, never from comparing ids. Raises ``UserError`` where
    there is no tokenizer, no EOS, or only a slow tokenizer (cutting posts needs character offsets).
    """
    if not is_local(path):
        use_hub()
    elif not any((Path(path) / name).is_file() for name in FILES):  # transformers would make up an empty one
        raise UserError(f"no usable tokenizer in {path}: tokenizer.json and tokenizer_config.json expected")
    config = Path(path) / "config.json"  # which transformers asks for the tokenizer's class
    if config.exists():
        with reading(config, "model's config", "does transformers know this model?"):
            AutoConfig.from_pretrained(str(path))
    with reading(path, "tokenizer in") if Path(path).exists() else from_hub("tokenizer", path):
        tokenizer = AutoTokenizer.from_pretrained(str(path), **options)
        tokenizer.decode(tokenizer(PROBE).input_ids)  # what its files set wrong may show in its first use alone
    if not tokenizer.is_fast:
        raise UserError(f"{path} has only a slow tokenizer; a tokenizer.json (fast tokenizer) is needed")
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {path} has no EOS token; a summary could never end. Set eos_token in it")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def prefix_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids that the tokenizer's post-processor puts before every text: usually ``[bos_token_id]`` or none."""
    encoding = tokenizer(PROBE)[0]
    return encoding.ids[: next((i for i, text in enumerate(encoding.sequence_ids) if text is not None), 0)]


def control_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Return the ids that steer a model and that no text may turn into: EOS, BOS, pad and all special tokens.

    Not the unknown token and the bytes ``<0x0A>``, which is how some tokenizers read a rare character, and not tokens
    that were added as plain vocabulary (GPT-NeoX's runs of blanks, GPT-J's ``<|extratoken_1|>``).
    """
    added = tokenizer.added_tokens_decoder.items()
    special = {*tokenizer.all_special_ids, *(number for number, token in added if token.special)}
    single_bytes = {number for number, token in added if BYTE.fullmatch(token.content)}
    return special - single_bytes - {tokenizer.unk_token_id} | {tokenizer.eos_token_id}


def token_ids(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], places: Sequence[str] | None = None
) -> list[list[int]]:
    """Return the ids of each text, prefix first: the one way from text to ids in training, generation and scoring.

    Some tokenizers (Unigram, word-level) cannot spell the name of a control token and read the token. ``places``
    ("train.jsonl, row 13") are for texts of a data set: such a row is refused, ``UserError`` under its place. Without
    them (text that a model wrote) the token is left out.
    """
    prefix, control = prefix_ids(tokenizer), control_ids(tokenizer)
    encoded = [encoding.ids for encoding in plain_encodings(tokenizer, texts, places)]
    return [
        [*prefix, *ids] if control.isdisjoint(ids) else [*prefix, *(i for i in ids if i not in control)]
        for ids in encoded
    ]


def plain_encodings(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], places: Sequence[str] | None = None
) -> list[Encoding]:
    """Encode each text (without the prefix) as ids and character offsets; ``places`` as in ``token_ids``."""
    if not texts:
        return []
    plain = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    encodings = tokenizer(list(texts), **plain).encodings
    if places is None:
        return encodings
    control = control_ids(tokenizer)
    for place, encoding in zip(places, encodings, strict=True):
        if not control.isdisjoint(encoding.ids):
            held = ", ".join(
                repr(name) for name in sorted({*tokenizer.convert_ids_to_tokens(control & {*encoding.ids})})
            )
            raise UserError(
                f"{place}: the text holds {held}, which this tokenizer can only read as its control token: take it out "
                "of the text, or use a tokenizer that can spell it (byte-level BPE can)"
            )
    return encodings


def tokenizer_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the SHA-256 of the vocabulary, the EOS and pad ids and the ids of a probe text.

    Two tokenizers with the same hash give the same ids. Padding side and truncation state do not enter.
    """
    ids = tokenizer(PROBE, padding=False, truncation=False).input_ids
    content = [sorted(tokenizer.get_vocab().items()), tokenizer.eos_token_id, tokenizer.pad_token_id, ids]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
