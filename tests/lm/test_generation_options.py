"""What generation options may say: names, types and ranges are checked at one boundary, before anything is loaded."""

import math

import pytest
import torch
from tiny_trlx import tiny_config, tiny_trainer
from transformers import AutoModelForCausalLM, GenerationConfig

from summarize_rlhf import UserError
from summarize_rlhf.lm import generation_options
from summarize_rlhf.lm.summaries import generate_summaries
from summarize_rlhf.lm.token_sampler import Sampler
from summarize_rlhf.tokenizer import load_tokenizer
from trlx.data.checks import check_config

NEEDED = {"max_new_tokens": 4}
WRONG = [
    ({"temperature": -1}, "temperature is -1: it should be at least 0"),
    ({"temperature": math.nan}, "temperature is nan: a finite number is needed"),
    ({"temperature": math.inf}, "temperature is inf"),
    ({"temperature": "0.7"}, "temperature should be a number, but is '0.7'"),
    ({"temperature": True}, "temperature should be a number, but is True"),
    ({"temperature": 1e-30}, "temperature is 1e-30: use 0"),
    ({"temperature": 10**400}, "too large"),
    ({"top_p": 1.5}, "top_p is 1.5: it should be at most 1"),
    ({"top_p": 0}, "top_p is 0: it should be above 0"),
    ({"top_k": -1}, "top_k is -1: it should be at least 0"),
    ({"top_k": 2.0}, "top_k should be a whole number, but is 2.0"),
    ({"max_new_tokens": 0}, "max_new_tokens is 0: it should be at least 1"),
    ({"max_new_tokens": None}, "needs max_new_tokens"),
    ({"max_new_tokens": 4.0}, "max_new_tokens should be a whole number, but is 4.0"),
    ({"max_new_tokens": True}, "max_new_tokens should be a whole number, but is True"),
    ({"min_new_tokens": 5}, "min_new_tokens is 5, but max_new_tokens 4"),
    ({"do_sample": "false"}, "do_sample should be true or false, but is 'false'"),
    ({"do_sample": 1}, "do_sample should be true or false, but is 1"),
    ({"num_beams": 0}, "num_beams is 0: it should be at least 1"),
    ({"repetition_penalty": 0}, "repetition_penalty is 0: it should be above 0"),
    ({"eos_token_id": 400}, "names the token 400, but the vocabulary has 400 tokens"),
    ({"eos_token_id": [0, 999]}, "names the token 999"),
    ({"eos_token_id": -1}, "eos_token_id should hold ids of tokens"),
    ({"eos_token_id": []}, "eos_token_id should hold ids of tokens"),
    ({"eos_token_id": "0"}, "eos_token_id should hold ids of tokens"),
    ({"pad_token_id": [0]}, "pad_token_id should hold ids of tokens"),
    ({"bad_words_ids": [[1], [400]]}, "names the token 400"),
    ({"bad_words_ids": [1, 2]}, "bad_words_ids should hold ids of tokens"),
    ({"bad_words_ids": [[1], []]}, "bad_words_ids should hold ids of tokens"),
    ({"suppress_tokens": 3}, "suppress_tokens should hold ids of tokens"),
    ({"penalty_alpha": 0.6}, "'penalty_alpha' is not supported; supported are max_new_tokens"),
    ({"num_beam_groups": 2}, "'num_beam_groups' is not supported"),
    ({"output_scores": True}, "'output_scores' is not supported"),
    ({"max_length": 20}, "use max_new_tokens"),
    ({"beta": 1}, "generate() has no option 'beta'"),
]


@pytest.mark.parametrize(("options", "told"), WRONG, ids=str)
@pytest.mark.parametrize("place", ["once", "sweep"])
def test_wrong_options_are_refused_by_name(options, told, place) -> None:
    with pytest.raises(generation_options.OptionError) as caught:
        generation_options.check_options(NEEDED | options, "place", sweeps=place == "sweep", vocabulary=400)
    assert told in str(caught.value)
    assert str(caught.value).startswith("place")
    assert isinstance(caught.value, UserError)


def test_each_option_of_generate_is_decided_and_good_values_pass() -> None:
    """Passed on, or refused by name: none is dropped, none is taken unchecked."""
    good = {"eos_token_id": [0, 3], "bad_words_ids": [[1, 2]], "suppress_tokens": [1], "begin_suppress_tokens": [2]}
    good |= {"temperature": 0.5, "do_sample": True, "early_stopping": True, "top_p": 1.0}
    for name in GenerationConfig().to_dict():
        if name in generation_options.OPTIONS or name in generation_options.TOKENS:
            value = good.get(name, 0 if name.endswith("_id") else None)
            if value is None:
                kind, bounds = generation_options.OPTIONS[name]
                value = True if kind is bool else kind(bounds.get("least", bounds.get("most", 1)))
            generation_options.check_options(NEEDED | {name: value}, "place", vocabulary=400)
        else:
            with pytest.raises(generation_options.OptionError, match="not supported"):
                generation_options.check_options(NEEDED | {name: 1}, "place")


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ({"gen_kwargs": NEEDED | {"temperature": 0}}, "a deterministic policy has no log-probabilities"),
        ({"gen_kwargs": NEEDED | {"temperature": [0, 1]}}, "method.gen_kwargs asks for greedy decoding"),
        ({"gen_kwargs": NEEDED | {"do_sample": False}}, "method.gen_kwargs asks for greedy decoding"),
        ({"gen_experience_kwargs": NEEDED | {"temperature": 0.0}}, "method.gen_experience_kwargs asks for greedy"),
        ({"gen_experience_kwargs": NEEDED | {"top_p": [0.5, 1.0]}}, "gen_experience_kwargs.top_p is a list"),
        ({"gen_kwargs": {"max_new_tokens": []}}, "max_new_tokens is an empty list"),
        ({"gen_kwargs": {"max_new_tokens": [4, 5], "top_k": [1, 2]}}, "only one option can be swept"),
        ({"gen_kwargs": {"max_new_tokens": [4, 5], "min_new_tokens": 5}}, "min_new_tokens is 5, but max_new_tokens 4"),
        ({"gen_kwargs": NEEDED | {"temperature": [1.0, "hot"]}}, "temperature should be a number, but is 'hot'"),
    ],
)
def test_what_rollouts_and_sweeps_must_not_be(method, told, tmp_path) -> None:
    """Before anything is loaded: there is no such model."""
    config = tiny_config(tmp_path / "none", tmp_path / "out")
    for name, options in method.items():
        setattr(config.method, name, options)
    with pytest.raises(generation_options.OptionError) as caught:
        check_config(config)
    assert told in str(caught.value)


def test_an_end_outside_the_vocabulary_is_refused_before_the_weights_are_read(gptj_dir, tmp_path) -> None:
    (tmp_path / "model").mkdir()
    for file in gptj_dir.iterdir():
        if file.name != "model.safetensors":
            (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    config = tiny_config(tmp_path / "model", tmp_path / "out", **{"method.gen_kwargs.eos_token_id": 4000})
    with pytest.raises(generation_options.OptionError, match="names the token 4000"):
        tiny_trainer(config)


def test_temperature_zero_is_greedy(gptj_dir, tokenizer) -> None:
    """In a sweep, in `trainer.generate` and for summaries; by the decoding loop and by `generate`."""
    swept = NEEDED | {"temperature": [0, 1.0]}
    greedy, sampled = (
        generation_options.generation_config(tokenizer, options) for _, options in generation_options.sweep(swept)
    )
    assert (greedy.do_sample, greedy.temperature, sampled.do_sample) == (False, None, True)
    plain = GenerationConfig(do_sample=True, temperature=0.0, max_new_tokens=4, eos_token_id=0)
    logits = torch.tensor([[0.0, 0.1, 0.05]])
    assert Sampler(plain)(logits, torch.tensor([0.999], dtype=torch.float64), torch.tensor([0])).item() == 1
    model = AutoModelForCausalLM.from_pretrained(gptj_dir)
    prompts = ["my cat", "the sister lost a car", "so"]
    cold, best = (
        generate_summaries(model, load_tokenizer(gptj_dir), prompts, progress=None, max_new_tokens=8, **options)
        for options in ({"do_sample": True, "temperature": 0}, {})
    )
    assert cold == best


def test_trainer_generates_greedily_at_zero_and_refuses_what_is_wrong(gptj_dir, tmp_path) -> None:
    trainer = tiny_trainer(tiny_config(gptj_dir, tmp_path / "out"))
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(trainer.generate(ids, temperature=0), trainer.generate(ids, do_sample=False))
    for wrong, told in (({"temperature": -1}, "at least 0"), ({"top_k": [1]}, "is a list"), ({"top_p": 2}, "most 1")):
        with pytest.raises(generation_options.OptionError, match=told):
            trainer.generate(ids, **wrong)
        with pytest.raises(generation_options.OptionError, match=told):
            trainer.generate_eval(ids, **wrong)
