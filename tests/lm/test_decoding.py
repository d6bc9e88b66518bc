"""Decoding against the slow way: each row alone, a whole forward pass per token, a loop to invert the distribution."""

import gc
import weakref

import pytest
import torch
from decoders import FAMILIES, LAYERS, VOCABULARY, make_model
from transformers import GenerationConfig, PreTrainedModel

from summarize_rlhf.lm import decoding
from summarize_rlhf.lm.branches import Decoder
from summarize_rlhf.lm.decode_batch import DecodeBatch
from summarize_rlhf.lm.decoding import decode, supports
from summarize_rlhf.lm.generation import uniforms
from summarize_rlhf.lm.token_sampler import Sampler

EOS, NEW = [7, 13, 26, 31, 40], 9
WHOLE_CONTEXT = ["gptj", "gpt2", "gpt_neox", "opt", "llama", "qwen3", "gemma", "phi"]
PROMPTS = [
    [5, 7, 9],
    [8],
    [3, 4, 5, 6, 8, 9, 10, 11],
    [12, 13],
    [20] * 6,
    [21, 22, 23, 24, 25],
]  # 7 in a prompt ends nothing


def config(**options) -> GenerationConfig:
    plain = {"max_new_tokens": NEW, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "use_cache": True}
    return GenerationConfig(**{"eos_token_id": EOS, "pad_token_id": 7, **plain, **options})


def peaked(family: str) -> PreTrainedModel:
    """A model that ends some responses early, and whose choices depend on all it has read."""
    model = make_model(family)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(3)
    return model


@torch.no_grad()
def slowly(model: PreTrainedModel, c: GenerationConfig, prompt: list[int], numbers: list[float]) -> list[int]:
    response: list[int] = []
    for step in range(NEW):
        logits = model(torch.tensor([prompt + response])).logits[0, -1].double()
        if step < (c.min_new_tokens or 0):
            logits[EOS] = -torch.inf
        probabilities = (logits / (c.temperature if c.do_sample else 1.0)).softmax(0)
        if not c.do_sample:
            token = int(probabilities.argmax())
        else:
            ranked = probabilities.argsort(descending=True).tolist()
            kept = ranked[: c.top_k or None]
            mass, nucleus = probabilities[kept].sum(), []
            for t in kept:  # as long as what stands before it is below top-p
                if sum(probabilities[n] for n in nucleus) / mass < c.top_p:
                    nucleus.append(t)
            left = numbers[step] * sum(probabilities[t] for t in nucleus)
            for token in sorted(nucleus):
                left -= probabilities[token]
                if left < 0:
                    break
        response.append(token)
        if token in EOS:
            break
    return response


OPTIONS = [
    {},
    {"do_sample": False},
    {"temperature": 0.4},
    {"top_k": 5},
    {"top_p": 0.7},
    {"temperature": 2.0, "top_k": 20, "top_p": 0.8},
    {"min_new_tokens": 5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("family", WHOLE_CONTEXT)
def test_tokens_are_those_of_the_slow_way(family: str, options: dict) -> None:
    model, c = peaked(family), config(**options)
    assert supports(model, c, max(map(len, PROMPTS)))
    numbers = uniforms(len(PROMPTS), c, 4)
    responses = [response.ids for response in decode(model, c, PROMPTS, numbers, 4)]
    assert responses == [slowly(model, c, p, row) for p, row in zip(PROMPTS, numbers.tolist(), strict=True)]
    if not options:
        assert any(r[-1] in EOS and len(r) < NEW for r in responses), "no response ends early: the test shows little"
        assert len(set(map(len, responses))) > 1


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("cache_bytes", [1, 20_000, 2**28])
def test_neither_batch_nor_memory_changes_a_token(monkeypatch, batch_size: int, cache_bytes: int) -> None:
    model, c = peaked("gptj"), config()
    numbers = uniforms(len(PROMPTS), c, 5)
    expected = decode(model, c, PROMPTS, numbers, 6)
    monkeypatch.setattr(decoding, "CACHE_BYTES_ON_CPU", cache_bytes)
    finished: list[int] = []
    found = decode(model, c, PROMPTS, numbers, batch_size, progress=finished.append)
    assert [r.ids for r in found] == [r.ids for r in expected]
    assert sum(finished) == len(PROMPTS)
    order = [3, 0, 5]
    some = decode(model, c, [PROMPTS[i] for i in order], numbers[order], batch_size)
    assert [r.ids for r in some] == [expected[i].ids for i in order]


@pytest.mark.parametrize("depth", [0, 2, LAYERS - 1])
@pytest.mark.parametrize("family", WHOLE_CONTEXT)
def test_trunk_is_that_of_a_forward_pass(family: str, depth: int) -> None:
    """To 1e-5; the last token, which the model has not read, has zeros."""
    model, c = peaked(family), config()
    responses = decode(model, c, PROMPTS, uniforms(len(PROMPTS), c, 6), 4, trunk_depth=depth)
    for prompt, response in zip(PROMPTS, responses, strict=True):
        with torch.no_grad():
            expected = Decoder(model).run_trunk(depth, input_ids=torch.tensor([prompt + response.ids]))
        assert response.trunk.shape == expected[0].shape
        torch.testing.assert_close(response.trunk[:-1], expected[0, :-1], rtol=1e-5, atol=1e-5)
        assert response.trunk[-1].abs().max() == 0


def test_nothing_is_left_behind_on_the_model() -> None:
    model, c = peaked("gptj"), config()
    decode(model, c, PROMPTS, uniforms(len(PROMPTS), c, 6), 4, trunk_depth=2)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_numbers_at_the_border_find_a_token_that_is_possible(number: float) -> None:
    """Top-k leaves three tokens, in the middle of the vocabulary: the first and the last of them."""
    chooser = Sampler(config(top_k=3))
    logits = torch.zeros(1, VOCABULARY)
    logits[0, [20, 21, 22]] = 5.0
    token = chooser(logits, torch.tensor([number], dtype=torch.float64), torch.tensor([0]))
    assert token.item() == (20 if number == 0 else 22)


@pytest.mark.parametrize("family", ["mistral", "qwen2", "gemma2"])
def test_a_window_as_long_as_the_text_does_not_slide(family: str) -> None:
    model, longest = peaked(family), max(map(len, PROMPTS))
    model.config.sliding_window = longest + NEW  # the masks are made from the config
    for module in model.modules():
        if "sliding_window" in vars(module) and module.sliding_window is not None:
            module.sliding_window = longest + NEW
    assert supports(model, config(), longest)
    assert not supports(model, config(), longest + 1)
    numbers = uniforms(len(PROMPTS), config(), 6)
    for row, (prompt, response) in enumerate(zip(PROMPTS, decode(model, config(), PROMPTS, numbers, 4), strict=True)):
        assert response.ids == slowly(model, config(), prompt, numbers[row].tolist())


def test_what_it_leaves_to_generate() -> None:
    plain = make_model("gptj")
    assert supports(plain, config(), 20)
    for options in ({"repetition_penalty": 1.2}, {"num_beams": 2}, {"no_repeat_ngram_size": 2}):
        assert not supports(plain, config(**options), 20)
    for family in set(FAMILIES) - set(WHOLE_CONTEXT):
        assert not supports(make_model(family), config(), 20), family
    flexible = make_model("llama")
    flexible.set_attn_implementation("flex_attention")  # takes masks of its own kind
    assert not supports(flexible, config(), 20)


@pytest.mark.parametrize("family", ["gptj", "llama", "gemma"])
def test_eager_attention(family: str) -> None:
    model, c = peaked(family), config()
    numbers = uniforms(len(PROMPTS), c, 4)
    expected = [response.ids for response in decode(model, c, PROMPTS, numbers, 4)]
    model.set_attn_implementation("eager")
    assert supports(model, c, 20)
    assert [response.ids for response in decode(model, c, PROMPTS, numbers, 4)] == expected


def test_keys_and_values_go_with_their_batch() -> None:
    """Not when Python next collects what refers to itself: on a GPU they may be an eighth of its memory."""
    model = make_model("gptj")
    batch = DecodeBatch(model, config(), PROMPTS[:2], uniforms(2, config(), 1), 2, None)
    batch.prefill()
    layers = [weakref.ref(layer) for layer in batch.cache.layers]
    assert all(layer() for layer in layers)
    gc.disable()
    try:
        del batch
        assert not any(layer() for layer in layers)
    finally:
        gc.enable()
