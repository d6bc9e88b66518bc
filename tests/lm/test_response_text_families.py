"""Text that reward_fn, metric_fn, stop sequences and logs see is what one would read, whatever the tokenizer."""

import json
import random

import pytest
from tiny import EOS, WORDS, gptj_config, make_model_dir, make_tokenizer, sentence
from tiny_trlx import PROMPTS, tiny_config, tiny_trainer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from summarize_rlhf.lm.end_of_response import cut_at_stop, text_after

PAIRS = [
    ("my cat", " lost the money again"),
    ("My sister moved.", "\nToday she wants a house"),
    ("so", "and so"),
    ("TL;DR:", " broke"),
    ("the train ", " never"),
    ("asked", "!"),
]


def metaspace() -> Tokenizer:
    """As T5 and newer Llama files: a blank is ▁, one stands before the first word and goes when it is decoded."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return made


def llama() -> Tokenizer:
    """As Llama 2 and Mistral: the same by a normalizer, unknown characters as bytes, one blank stripped at the left."""
    made = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # so that words are learnt, as from such texts
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    return made


def trained(made: Tokenizer) -> PreTrainedTokenizerFast:
    rng = random.Random(0)
    texts = [sentence(rng, 8) for _ in range(50)] + [a + b for a, b in PAIRS] + WORDS
    special = [EOS, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False, max_token_length=8)
    )
    state = json.loads(made.to_str())  # the bytes are tokens like others: a decoder that skips special ones keeps them
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < 2]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token=EOS, eos_token=EOS, unk_token="<unk>"
    )
    tokenizer.pad_token = EOS
    return tokenizer


KINDS = {"metaspace": lambda: trained(metaspace()), "llama": lambda: trained(llama()), "byte-level": make_tokenizer}


@pytest.fixture(params=KINDS)
def tokenizer(request) -> PreTrainedTokenizerFast:
    return KINDS[request.param]()


@pytest.mark.parametrize(("prompt", "rest"), PAIRS)
def test_a_response_reads_as_it_does_behind_its_prompt(tokenizer, prompt: str, rest: str) -> None:
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    both = tokenizer(prompt + rest, add_special_tokens=False).input_ids
    for n in range(len(both) + 1):  # wherever the text is divided, its parts make it
        whole = text_after(tokenizer, [], both[:n]) + text_after(tokenizer, both[:n], both[n:])
        assert whole == tokenizer.decode(both) == prompt + rest
    if both[: len(ids)] == ids:
        assert text_after(tokenizer, ids, [*both[len(ids) :], tokenizer.eos_token_id]) == rest


def test_a_prompt_that_ends_within_a_character() -> None:
    """Its own text ends with a sign for what is missing, which is no beginning of both's: the response stands alone."""
    for made in (KINDS["byte-level"](), KINDS["llama"]()):
        ids = made("cat é", add_special_tokens=False).input_ids
        prompt, response = ids[:-1], [ids[-1], *made(" lost", add_special_tokens=False).input_ids]
        assert made.decode(prompt).endswith("\ufffd")
        assert text_after(made, prompt, response) == made.decode(response)


def test_a_byte_level_response_reads_alone_as_it_did() -> None:
    """GPT-2 and GPT-J keep the blank within the word: nothing changes for them."""
    made, rng = make_tokenizer(), random.Random(1)
    for _ in range(200):
        prompt, response = ([rng.randrange(1, 373) for _ in range(6)] for _ in range(2))
        if not made.decode(prompt).endswith("\ufffd"):
            assert text_after(made, prompt, response) == made.decode(prompt + response)[len(made.decode(prompt)) :]
        if "\ufffd" not in made.decode(prompt + response):
            assert text_after(made, prompt, response) == made.decode(response)


def test_a_stop_is_sought_in_the_text_as_it_reads(tokenizer) -> None:
    """Also where it begins with the response's first blank, which the response alone has lost."""
    prompt = tokenizer("my cat", add_special_tokens=False).input_ids
    both = tokenizer("my cat lost money today", add_special_tokens=False).input_ids
    assert both[: len(prompt)] == prompt
    response = both[len(prompt) :]
    ids, text = cut_at_stop(tokenizer, prompt, response, [" money"])
    assert text == " lost"
    assert tokenizer.decode(prompt + ids).startswith("my cat lost money")
    assert not tokenizer.decode(prompt + ids[:-1]).startswith("my cat lost money")
    ids, text = cut_at_stop(tokenizer, prompt, response, [" lost", "today"])
    assert text == ""
    assert tokenizer.decode(prompt + ids) == "my cat lost"
    assert cut_at_stop(tokenizer, prompt, response, ["house"]) == (response, " lost money today")


def test_samples_outputs_and_logs_read_as_text(tokenizer, tmp_path) -> None:
    """Of random ids, in rollouts and in evaluation: prompt and output together are what both decode to."""
    make_model_dir(tmp_path / "model", gptj_config(len(tokenizer)), tokenizer)
    seen = []

    def reward(samples, prompts, outputs, output_ids, **_):
        seen.append((samples, prompts, outputs, output_ids))
        return [0.0] * len(samples)

    out = tmp_path / "out"
    options = {"train.rollout_logging_dir": str(out / "rollouts"), "train.epochs": 1, "method.num_rollouts": 64}
    trainer = tiny_trainer(tiny_config(tmp_path / "model", out, **options), reward)
    trainer.learn()
    ids_of = {text: trainer.tokenizer(text, add_special_tokens=False).input_ids for text in PROMPTS}
    blanks = 0
    for samples, prompts, outputs, output_ids in seen:
        for sample, prompt, output, ids in zip(samples, prompts, outputs, output_ids, strict=True):
            assert sample == prompt + output == tokenizer.decode(ids_of[prompt] + ids, skip_special_tokens=True)
            blanks += output.startswith(" ")
    assert blanks > 0, "no response begins with a word"
    (file,) = (out / "rollouts").iterdir()
    rows = [json.loads(line) for line in file.open(encoding="utf-8")]
    assert [row["prompt"] + row["output"] for row in rows] == seen[1][0]
    rows = [json.loads(line) for line in (out / "samples.jsonl").open(encoding="utf-8")]
    assert [row["prompt"] + row["output"] for row in rows] == seen[0][0] + seen[2][0]
