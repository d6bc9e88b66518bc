"""Metadata, stop sequences, sweeps and metrics: what an evaluation shows."""

import json
from pathlib import Path

import pytest
from logged import metrics
from tiny_trlx import PROMPTS, tiny_trainer

import trlx


def test_metadata_reaches_reward_and_metric_as_lists(config) -> None:
    rows = [{"prompt": text, "row": i, "label": text.upper()} for i, text in enumerate(PROMPTS)]

    def check(samples, prompts, outputs, tokenizer, row, label):
        assert [PROMPTS[i] for i in row] == prompts
        assert label == [text.upper() for text in prompts]
        assert samples == [p + o for p, o in zip(prompts, outputs, strict=True)]
        assert tokenizer.decode([0]) == "<|endoftext|>"
        return row

    trainer = trlx.train(
        reward_fn=check,
        metric_fn=lambda **given: {"row": check(**given), "twice": 2.0},
        prompts=rows,
        eval_prompts=rows[2:5],
        config=config(train__epochs=1),
    )
    last = metrics(Path(trainer.config.train.checkpoint_dir))[-1]
    assert (last["reward/mean"], last["metrics/row"], last["metrics/twice"]) == (3.0, 3.0, 2.0)
    assert all("row" in item.metadata for item in trainer.prompts.items)


def test_metrics_that_are_no_numbers_are_refused_by_name(config) -> None:
    trainer = tiny_trainer(config(), metric_fn=lambda **_: {"good": [1, 2], "bad": ["x"]})
    with pytest.raises(ValueError, match="metric_fn: 'bad' should hold numbers"):
        trainer.evaluate()


def test_stop_sequences_end_responses(config) -> None:
    """Text ends before the stop, ids with the token that completes it, and the score falls there."""
    stop, seen = "e", []

    def reward(outputs, **_):
        seen.extend(outputs)
        return [1.0] * len(outputs)

    settings = config(**{"method.gen_kwargs.max_new_tokens": 12, "method.num_rollouts": 16})
    trainer = tiny_trainer(settings, reward, stop_sequences=[stop])
    rollouts, _ = trainer.make_experience()
    assert not any(stop in text for text in seen)
    texts = [trainer.tokenizer.decode(r.response) for r in rollouts]
    stopped = [r for r, text in zip(rollouts, texts, strict=True) if stop in text]
    assert 0 < len(stopped) < len(rollouts)
    for r in stopped:
        assert stop not in trainer.tokenizer.decode(r.response[:-1])
        assert len(r.logprobs) == len(r.returns) == len(r.response)


def test_sweep_is_evaluated_and_rollouts_take_its_first_value(config) -> None:
    settings = config(**{"method.gen_kwargs": {"max_new_tokens": [3, 5]}, "train.epochs": 1})
    trainer = tiny_trainer(settings)
    results = trainer.evaluate()
    assert results["rollouts/eval_length@max_new_tokens=3"] == 3.0
    assert results["rollouts/eval_length@max_new_tokens=5"] == 5.0
    assert {"reward/mean@max_new_tokens=3", "reward/mean@max_new_tokens=5"} <= results.keys()
    assert {len(r.response) for r in trainer.make_experience()[0]} == {3}
    lines = (Path(settings.train.checkpoint_dir) / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["sweep"] for line in lines] == ["max_new_tokens=3"] * 4 + ["max_new_tokens=5"] * 4
    assert trainer.config.method.longest_response() == 5


def test_rollouts_have_options_of_their_own(config) -> None:
    settings = config(method__gen_experience_kwargs={"max_new_tokens": 9, "temperature": 0.5})
    trainer = tiny_trainer(settings)
    assert trainer.temperature == 0.5
    assert {len(r.response) for r in trainer.make_experience()[0]} == {9}
    assert trainer.evaluate()["rollouts/eval_length"] == 6.0
    assert settings.method.longest_response() == 9


@pytest.mark.parametrize("options", [{}, {"typical_p": 0.999999}])  # by our decoding loop, by transformers' `generate`
def test_evaluation_leaves_training_as_it_is(config, options: dict) -> None:
    """Evaluating more often draws from random numbers of its own."""
    runs = []
    for interval in (1, 100):
        generation = {"max_new_tokens": 6, **options}
        trainer = tiny_trainer(config(train__eval_interval=interval, method__gen_kwargs=generation))
        trainer.learn()
        lines = metrics(Path(trainer.config.train.checkpoint_dir))
        runs.append([line for line in lines if "reward/mean" not in line])
    assert runs[0] == runs[1]
