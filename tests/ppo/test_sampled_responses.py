"""Responses: where they end, and the distribution that they are drawn from."""

import pytest
import torch
from tiny_trlx import PROMPTS, tiny_trainer
from transformers import AutoModelForCausalLM, GenerationConfig

from summarize_rlhf.lm import decode_batch, decoding, end_of_response, generation, generation_options

EOS = 0  # and pad: `load_tokenizer` gives a tokenizer without pad its EOS


@pytest.fixture
def model(gptj_dir):
    return AutoModelForCausalLM.from_pretrained(gptj_dir).eval()


@pytest.mark.parametrize(
    ("response", "expected"),
    [([5, 0, 0, 0], [5, 0]), ([0, 0], [0]), ([5, 6, 7], [5, 6, 7]), ([5, 9, 0], [5, 9])],
)
def test_up_to_end(response: list[int], expected: list[int]) -> None:
    """EOS is kept, what `generate` pads behind it is not; 9 is a second EOS."""
    assert end_of_response.up_to_end(response, GenerationConfig(eos_token_id=[0, 9])) == expected


def test_cut_at_stop(tokenizer) -> None:
    """Ids end with the token that completes the first stop; the text ends before it."""
    text = "my cat lost\nthe money today"
    ids = tokenizer(text).input_ids
    cut, kept = end_of_response.cut_at_stop(tokenizer, [], ids, ["today", "\nthe"])
    assert kept == "my cat lost"
    assert "\nthe" in tokenizer.decode(cut)
    assert "\nthe" not in tokenizer.decode(cut[:-1])
    assert cut == ids[: len(cut)]
    assert end_of_response.cut_at_stop(tokenizer, [], ids, ["train", "xyz"]) == (ids, text)
    assert end_of_response.cut_at_stop(tokenizer, [], [*ids, EOS], []) == ([*ids, EOS], text)


def sample(
    model, config: GenerationConfig, prompts: list[list[int]], batch_size: int, seed: int = 1
) -> list[list[int]]:
    """Response ids, from random numbers of this seed."""
    noise = generation.uniforms(len(prompts), config, seed)
    return [response.ids for response in generation.sample(model, config, prompts, noise, batch_size)]


def test_sampled_distribution_is_the_trained_one(model, tokenizer) -> None:
    """30,000 draws at temperature .7 follow softmax(logits / .7), in total variation, as closely as chance allows."""
    with torch.no_grad():  # peaked enough that temperature and top-k would show
        model.lm_head.weight.mul_(20)
    prompt, n = tokenizer("my cat").input_ids, 30_000
    config = generation_options.generation_config(tokenizer, {"max_new_tokens": 1, "temperature": 0.7})
    draws = torch.tensor(sample(model, config, [prompt] * n, 15_000)).flatten()
    found = torch.bincount(draws, minlength=model.config.vocab_size) / n
    logits = model(torch.tensor([prompt])).logits[0, -1].detach()
    assert 0.5 * (found - (logits / 0.7).softmax(-1)).abs().sum() < 0.025
    assert 0.5 * (found - logits.softmax(-1)).abs().sum() > 0.2


def test_checkpoints_own_generation_config_does_not_leak(model, tokenizer) -> None:
    prompts = [tokenizer(text).input_ids for text in PROMPTS]

    def draw(**options) -> list[list[int]]:
        torch.manual_seed(1)  # for `generate`, which sees to the penalty
        config = generation_options.generation_config(tokenizer, {"max_new_tokens": 8, **options})
        return sample(model, config, prompts, 8)

    by_generate = {"repetition_penalty": 1.0, "num_beams": 1, "typical_p": 0.999999}
    assert not decoding.supports(
        model, generation_options.generation_config(tokenizer, {"max_new_tokens": 8, **by_generate}), 20
    )
    expected, expected_of_generate = draw(), draw(**by_generate)
    own = GenerationConfig(
        repetition_penalty=50.0,
        top_k=1,
        top_p=0.1,
        min_new_tokens=8,
        suppress_tokens=list(range(100, 200)),
        no_repeat_ngram_size=1,
        eos_token_id=list(range(50)),
        forced_eos_token_id=7,
    )
    model.generation_config = own
    assert draw() == expected
    assert draw(**by_generate) == expected_of_generate
    assert model.generation_config is own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 4, "temprature": 1.0}, "here: generate\\(\\) has no option 'temprature'"),
        ({"top_k": 0}, "here needs max_new_tokens"),
        ({"max_new_tokens": 4, "max_length": 9}, "'max_length' is not supported; .*max_new_tokens"),
        ({"max_new_tokens": 4, "num_return_sequences": 2}, "'num_return_sequences' is not supported"),
        ({"max_new_tokens": 4, "stop_strings": ["x"]}, "use the stop_sequences of trlx.train"),
        ({"max_new_tokens": [4, 5], "temperature": [1.0]}, "only one option can be swept"),
    ],
)
def test_options_are_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generation_options.check_options(options, "here")


def test_sweep() -> None:
    options = {"max_new_tokens": 4, "temperature": [0.5, 1.0], "eos_token_id": [0, 9]}
    assert generation_options.sweep(options) == [
        ("@temperature=0.5", {**options, "temperature": 0.5}),
        ("@temperature=1.0", {**options, "temperature": 1.0}),
    ]
    assert generation_options.sweep({"max_new_tokens": 4}) == [("", {"max_new_tokens": 4})]


def test_what_bends_the_distribution() -> None:
    straight = {"max_new_tokens": 4, "temperature": 0.5, "top_k": 0, "top_p": 1, "do_sample": True, "num_beams": 1}
    assert generation_options.bends_distribution(straight) == []
    bent = {"max_new_tokens": 4, "top_k": 50, "top_p": 0.9, "do_sample": False, "repetition_penalty": 1.2}
    assert generation_options.bends_distribution(bent) == ["top_k", "top_p", "do_sample", "repetition_penalty"]


def test_default_is_the_whole_distribution(tokenizer) -> None:
    config = generation_options.generation_config(tokenizer, {"max_new_tokens": 4})
    assert (config.do_sample, config.temperature, config.top_k, config.top_p) == (True, 1.0, 0, 1.0)
    assert (config.eos_token_id, config.pad_token_id) == (EOS, EOS)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_the_switch_for_cuda_graphs_reaches_rollouts_and_evaluation(config, monkeypatch, cuda_graphs: bool) -> None:
    """On a CPU that gives the shapes alone: the ids stay the same."""
    plain, seen = tiny_trainer(config()), []

    class Watched(decode_batch.DecodeBatch):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            seen.append(self.cuda_graphs)

    expected = [r.response for r in plain.make_experience()[0]]
    monkeypatch.setattr(decoding, "DecodeBatch", Watched)
    trainer = tiny_trainer(config(train__cuda_graphs=cuda_graphs))
    assert [r.response for r in trainer.make_experience()[0]] == expected
    rollouts = len(seen)
    trainer.evaluate()
    assert len(seen) > rollouts > 0
    assert set(seen) == {cuda_graphs}
