"""What is no argument of `trlx.train` is refused by name before anything is loaded, written or started."""

import io
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from datasets import Dataset
from tiny import gpt2_config
from tiny_trlx import PROMPTS, length_reward, tiny_config
from transformers import GPT2LMHeadModel

import trlx
from trlx.data import arguments
from trlx.trainer import ppo

ROW = {"prompt": "my cat"}


@pytest.fixture
def train(tmp_path, monkeypatch):
    """`trlx.train`, in which it is an error to come as far as the trainer."""

    def loaded(*_, **__):
        raise AssertionError("the trainer was built")

    monkeypatch.setattr("trlx.trlx.AcceleratePPOTrainer", loaded)
    config = tiny_config(tmp_path / "no model", tmp_path / "out")
    given = {"reward_fn": length_reward, "prompts": PROMPTS, "config": config}
    return lambda **changed: trlx.train(**given | changed)


@pytest.mark.parametrize("name", ["prompts", "eval_prompts"])
@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        ("Tell me a joke", "is a str: give a list of texts"),
        (b"Tell me a joke", "is a bytes"),
        (ROW, "is a dict"),
        (OrderedDict(ROW), "is a OrderedDict"),
        ({"my cat"}, "is a set"),
        (Path("prompts.txt"), "is a PosixPath"),
        (io.StringIO("my cat\nlost"), "is a StringIO"),
        (pandas.DataFrame([ROW, ROW]), r"is a DataFrame: .*to_dict\('records'\)"),
        (7, "is 7: give a list of texts"),
        (length_reward, "is <function length_reward"),
        ([], "holds no prompts"),
        (["my cat", None], "prompt 1 is None, a NoneType"),
        (["my cat", b"lost"], "prompt 1 is b'lost', a bytes"),
        ([["my", "cat"]], r"prompt 0 is \['my', 'cat'\], a list"),
        (torch.ones(2, 3), "prompt 0 is tensor.*a Tensor"),
        (["my cat", ""], "prompt 1 is empty"),
        ([{"prompt": ""}], "prompt 0 is empty"),
        ([{"prompt": None}], "prompt 0 is None"),
        ([{"text": "my cat"}], r"prompt 0 has no key 'prompt', only \['text'\]"),
        ([ROW | {"outputs": "x"}], "prompt 0 has the key 'outputs', but its keys become arguments"),
        ([ROW | {1: "x"}], "prompt 0 has the key 1, but"),
    ],
)
def test_prompts_are_refused_by_name(train, name: str, prompts, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"trlx\.train\({name}=…\).*{told}"):
        train(**{name: prompts})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"reward_fn": "length"}, r"trlx\.train\(reward_fn=…\) should be a function, but is 'length'"),
        ({"reward_fn": [length_reward]}, "should be a function"),
        ({"metric_fn": 0}, r"trlx\.train\(metric_fn=…\) should be a function, but is 0"),
        ({"config": {}}, r"should be a TRLConfig, but is a dict: say TRLConfig\.from_dict"),
        ({"config": "ppo.yml"}, r"but is a str: say TRLConfig\.load_yaml"),
        ({"config": Path("ppo.yml")}, r"load_yaml"),
        ({"config": 7}, "but is a int: build one"),
        ({"stop_sequences": "\n"}, r"stop_sequences=…\) should be a list of texts, but is '\\n'"),
        ({"stop_sequences": ["\n", None]}, "should be a list of texts"),
        ({"stop_sequences": ["\n", ""]}, "holds an empty text"),
        ({"stop_sequences": {"\n": 1}}, "should be a list of texts"),
        ({"model_path": 7}, r"trlx\.train\(model_path=…\) should be a directory, a Hub id or .* but is a int"),
        ({"model_path": ["gpt2"]}, "but is a list"),
        ({"model_path": ""}, "is empty: name a directory"),
    ],
)
def test_other_arguments_are_refused_by_name(train, changed: dict, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        train(**changed)


def test_a_model_is_no_path(train) -> None:
    with pytest.raises(TypeError, match="but is a GPT2LMHeadModel"):
        train(model_path=GPT2LMHeadModel(gpt2_config(100)))


def test_a_model_path_in_the_configuration_is_checked_too(tmp_path) -> None:
    config = tiny_config(tmp_path, tmp_path / "out")
    config.model.model_path = None
    with pytest.raises(TypeError, match=r"model\.model_path should be a directory.*NoneType"):
        ppo.AcceleratePPOTrainer(config, length_reward)


@pytest.mark.parametrize(
    "prompts",
    [
        PROMPTS,
        tuple(PROMPTS),
        (text for text in PROMPTS),
        dict.fromkeys(PROMPTS).keys(),
        np.array(PROMPTS),
        pandas.Series(PROMPTS),
        Dataset.from_dict({"prompt": PROMPTS})["prompt"],
    ],
)
def test_whatever_yields_texts_is_a_list_of_them(prompts) -> None:
    assert arguments.check_prompts("prompts", prompts) == PROMPTS


def test_rows_of_a_dataset_are_dictionaries(tmp_path) -> None:
    rows = [{"prompt": text, "row": i} for i, text in enumerate(PROMPTS)]
    assert arguments.check_prompts("prompts", Dataset.from_list(rows)) == rows
    assert arguments.check_prompts("prompts", (row for row in rows)) == rows


def test_a_generator_trains(gptj_dir, tmp_path) -> None:
    """Of prompts and of evaluation prompts; both are read once."""
    config = tiny_config(gptj_dir, tmp_path / "out", train__epochs=1, method__ppo_epochs=1)
    once = {"prompts": iter(PROMPTS), "eval_prompts": (row for row in [ROW])}
    trainer = trlx.train(reward_fn=length_reward, config=config, **once)
    assert [item.text for item in trainer.prompts.items] == PROMPTS
    assert [item.text for item in trainer.eval_prompts.items] == ["my cat"]
