"""A response reads behind its prompt as one text, whatever the tokenizer does with blanks; its tokens stay as sampled.

Tokenizers like sentencepiece's carry a word's blank within its piece, and drop it where a text begins.
"""

import pytest
import torch
from tiny import gpt2_config, make_model_dir, make_tokenizer
from tiny_trlx import tiny_config, tiny_trainer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from summarize_rlhf.lm.end_of_response import cut_at_stop, text_after
from summarize_rlhf.text import rm_text
from trlx.pipeline.offline_pipeline import Prompt
from trlx.trainer.rewards import Episode, call, decode, per_token

PROMPT, WORDS = "they say money is", " should keep the cat"
TEXTS = [PROMPT + WORDS, "should keep the cat", "moneys mine", "so cats keep money ."]
SPECIAL = ["<unk>", "<s>", "</s>"]


def wrapped(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def unigram() -> PreTrainedTokenizerFast:
    """As T5 and XLNet have it: Unigram, Metaspace before and after."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(TEXTS * 5, trainer)
    return wrapped(backend)


def llama() -> PreTrainedTokenizerFast:
    """As Llama has it: BOS and a blank put before every text, also where it has one; the decoder strips one."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    backend.train_from_iterator(TEXTS * 5, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return wrapped(backend)


def word_pieces() -> PreTrainedTokenizerFast:
    """As BERT has it: a word goes on with ##, blanks stand between words."""
    backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=80, special_tokens=SPECIAL, show_progress=False)
    backend.train_from_iterator(TEXTS * 5, trainer)
    return wrapped(backend)


KINDS = {"unigram": unigram, "llama": llama, "word pieces": word_pieces, "byte-level": make_tokenizer}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request) -> PreTrainedTokenizerFast:
    made = KINDS[request.param]()
    made.pad_token = made.eos_token
    return made


@pytest.fixture
def split(tokenizer) -> tuple[list[int], list[int]]:
    """The prompt and the words behind it as they stand within one text; the words end with EOS."""
    encoding = tokenizer(PROMPT + WORDS, add_special_tokens=False).encodings[0]
    first = next(i for i, (_, end) in enumerate(encoding.offsets) if end > len(PROMPT) + 1)
    return encoding.ids[:first], [*encoding.ids[first:], tokenizer.eos_token_id]


def test_words_are_not_glued(tokenizer, split):
    prompt, response = split
    assert text_after(tokenizer, prompt, response) == WORDS
    assert text_after(tokenizer, [tokenizer.bos_token_id, *prompt], response) == WORDS
    assert text_after(tokenizer, prompt, [tokenizer.eos_token_id]) == ""
    for end in range(1, len(prompt)):  # also within a word
        whole = tokenizer.decode(prompt)
        start = tokenizer.decode(prompt[:end])
        assert start + text_after(tokenizer, prompt[:end], prompt[end:]) == whole


def test_a_stop_sequence_may_begin_with_the_blank(tokenizer, split):
    prompt, response = split
    cut, text = cut_at_stop(tokenizer, prompt, response, [" the"])
    assert text == " should keep"
    assert cut == response[: len(cut)]
    assert text_after(tokenizer, prompt, cut) == " should keep the"
    assert cut_at_stop(tokenizer, prompt, response, [" should"])[1] == ""


def test_rewards_per_token_of_the_text(tokenizer, split):
    """A script counts by `tokenizer(output)`: each reward falls on the token that was sampled, also behind a blank."""
    prompt, response = split
    words = response[:-1]
    episode = Episode(prompt, words + [tokenizer.eos_token_id] * 3, PROMPT, WORDS, {})
    ids = tokenizer(WORDS).input_ids
    more = len(ids) - len(words)
    assert ids[more:] == words
    given = torch.arange(1.0, len(ids) + 1)
    laid = per_token(given, episode, tokenizer)
    assert laid[1 : len(words)].tolist() == given[more + 1 :].tolist()
    assert laid[0] == given[: more + 1].sum()
    assert not laid[len(words) :].any()


def test_the_reward_model_reads_what_it_read(tokenizer, split):
    prompt, response = split
    alone = tokenizer.decode(response, skip_special_tokens=True)
    assert rm_text("a post", text_after(tokenizer, prompt, response)) == rm_text("a post", alone)


def test_bytes_decode_as_they_did():
    """Byte-level text is the same with and without its prompt, also where a character is cut in two."""
    made = make_tokenizer()
    for text in (PROMPT + WORDS, "  two\n\n blanks ", "don 't . stop", "naïve 🙂🙂 é"):
        ids = made(text).input_ids
        for end in range(len(ids)):
            for stop in range(end, len(ids) + 1):
                assert text_after(made, ids[:end], ids[end:stop]) == made.decode(ids[end:stop])


def test_a_prompt_whose_text_what_follows_would_change():
    """Transformers may clean blanks up: "money is " and "." become "money is."; nothing of the response is lost."""
    made = unigram()
    made.clean_up_tokenization_spaces = True
    prompt, end = made("money is").input_ids, made.convert_tokens_to_ids([".", "▁"])
    assert text_after(made, [*prompt, end[1]], [end[0]]) == "."


def test_samples_read_as_one_text(tokenizer, split, tmp_path):
    """What a trainer makes of sampled ids, for reward_fn, metric_fn and the logs."""
    prompt, response = split
    model = make_model_dir(tmp_path / "model", gpt2_config(len(tokenizer)), tokenizer)
    trainer = tiny_trainer(tiny_config(model, tmp_path / "out"), prompts=[PROMPT] * 8)
    episodes = decode(trainer.tokenizer, [Prompt(prompt, PROMPT, {})], [response], trainer.stop_sequences)
    seen = call(lambda **given: given, episodes, tokenizer)
    assert (seen["samples"], seen["outputs"]) == ([PROMPT + WORDS], [WORDS])
