"""trlX's way of arguments: one JSON object of dotted names, or a file of them."""

import dataclasses

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.run.overrides import flatten, parse_overrides

WANTED = {"optimizer.kwargs.lr": 2e-4, "train.seed": 3, "train.tracker": None}


def test_json_object():
    argument = '{"optimizer.kwargs.lr": 2e-4, "train.seed": 3, "train.tracker": null}'
    assert parse_overrides("", {}, [argument]) == WANTED


def test_nested_is_the_same_as_dotted():
    assert parse_overrides("", {}, ['{"train": {"seed": 3}}']) == {"train.seed": 3}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"optimizer": {"kwargs": {"lr": 2e-4}}, "train.seed": 3, "train.tracker": null}'),
        ("a.yaml", "optimizer:\n  kwargs:\n    lr: 2e-4\ntrain.seed: 3\ntrain.tracker: null\n"),
    ],
)
def test_file(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert parse_overrides("", {}, [str(tmp_path / name)]) == WANTED


def test_no_argument_changes_nothing():
    assert parse_overrides("", {}, []) == {}


def test_help_shows_each_option_with_default_and_text(capsys):
    @dataclasses.dataclass
    class Optimizer:
        name: str = dataclasses.field(default="adamw", metadata={"help": "adam, adamw or sgd"})
        kwargs: dict = dataclasses.field(default_factory=lambda: {"lr": 0.5, "eps": 0.25})

    with pytest.raises(SystemExit):
        parse_overrides("Trains.", {"optimizer": Optimizer()}, ["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ")
    assert "Trains." in shown
    assert shown.endswith(
        """names and defaults:
  optimizer.name = "adamw"
      adam, adamw or sgd
  optimizer.kwargs.lr = 0.5
  optimizer.kwargs.eps = 0.25
"""
    )


def test_a_flag_that_is_an_option_says_how_it_is_given():
    @dataclasses.dataclass
    class Train:
        precision: str = "auto"

    with pytest.raises(UserError, match=r"""unknown argument --precision=bf16: give '{"train.precision": …}'"""):
        parse_overrides("", {"train": Train()}, ["--precision=bf16"])
    with pytest.raises(UserError, match="unknown argument --bf16; see --help"):
        parse_overrides("", {"train": Train()}, ["--bf16"])


def test_an_empty_object_stays_a_value():
    assert flatten({"method": {"gen_kwargs": {}}}) == {"method.gen_kwargs": {}}


@pytest.mark.parametrize("argument", ["[1]", "{", '{"a": 1', "missing.json"])
def test_what_is_no_object_is_refused(argument):
    with pytest.raises(UserError, match="overrides"):
        parse_overrides("", {}, [argument])
