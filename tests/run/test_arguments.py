"""Flags, or one JSON or YAML file; what is misspelt is named with what was meant."""

import json
from dataclasses import dataclass

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.lm.lora import LoraArguments
from summarize_rlhf.run.arguments import parse_arguments


@dataclass
class Some:
    learning_rate: float = 1e-5
    epochs: int = 5
    rows: int | None = None
    flag: bool = True
    name: str = "a"
    several: list[str] | None = None


def test_flags_and_the_launchers_own():
    assert parse_arguments(Some, ["--local_rank=3", "--learning_rate", "2e-4", "--flag", "false"]) == Some(
        learning_rate=2e-4, flag=False
    )
    assert parse_arguments(Some, []) == Some()


@pytest.mark.parametrize("ending", ["json", "yaml", "yml"])
def test_one_file(tmp_path, ending):
    file = tmp_path / f"run.{ending}"
    file.write_text(json.dumps({"learning_rate": 2e-4, "epochs": 3, "rows": None, "flag": False}))
    assert parse_arguments(Some, ["--local_rank=0", str(file)]) == Some(2e-4, 3, None, False)


def test_flags_behind_a_file_beat_it(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("learning_rate: 2e-4\nepochs: 3\n")
    assert parse_arguments(Some, [str(file), "--epochs", "4"]) == Some(2e-4, 4)
    with pytest.raises(UserError, match=r"run.yaml: a file of arguments comes first, before the flags"):
        parse_arguments(Some, ["--epochs", "4", str(file)])


def test_several_values_of_one_argument(tmp_path):
    """As words behind a flag, or as a list in a file; a list of none, or for one value, is refused."""
    assert parse_arguments(Some, ["--several", "a=1", "b=2", "--epochs", "3"]) == Some(epochs=3, several=["a=1", "b=2"])
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"several": ["a=1", "b=2"], "epochs": 3}))
    assert parse_arguments(Some, [str(file)]) == Some(epochs=3, several=["a=1", "b=2"])
    some = "several should be a list of one value or more"
    for content, told in (({"several": []}, some), ({"several": {"a": 1}}, some), ({"epochs": [3]}, "be one value")):
        file.write_text(json.dumps(content))
        with pytest.raises(UserError, match=told):
            parse_arguments(Some, [str(file)])
    with pytest.raises(UserError, match="--several is empty"):
        parse_arguments(Some, ["--several", "a", " "])


def test_yaml_numbers_are_read_as_flags_are(tmp_path):
    (tmp_path / "run.yaml").write_text("learning_rate: 1e-3\n")  # for YAML 1.1 this is a string
    assert parse_arguments(Some, [str(tmp_path / "run.yaml")]).learning_rate == 1e-3


@pytest.mark.parametrize("word", ["--learning_rat", "--lerning_rate", "--learning_rate_=1"])
def test_a_typo_names_what_was_meant(word):
    with pytest.raises(UserError, match=rf"unknown argument {word}; did you mean --learning_rate\?"):
        parse_arguments(Some, [word, "1"] if "=" not in word else [word])


def test_a_typo_in_a_file(tmp_path):
    (tmp_path / "run.json").write_text('{"epoch": 3}')
    with pytest.raises(UserError, match=r"run.json: unknown argument 'epoch'; did you mean epochs\?"):
        parse_arguments(Some, [str(tmp_path / "run.json")])


def test_bad_files(tmp_path):
    with pytest.raises(UserError, match="cannot read the arguments in"):
        parse_arguments(Some, [str(tmp_path / "none.json")])
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="names and values"):
        parse_arguments(Some, [str(tmp_path / "list.yaml")])


def test_a_wrong_value_is_argparses_own_message(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(Some, ["--epochs", "many"])
    assert "argument --epochs: invalid int value: 'many'" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--name", ""], ["--name", "  "], ["--name=a\0b"], ["--name", "\ud83d"]])
def test_texts_that_can_name_nothing(argv):
    with pytest.raises(UserError, match=r"--name (is empty|holds a NUL or half a character)"):
        parse_arguments(Some, argv)


@pytest.mark.parametrize("number", ["1" + "0" * 30, "-" + "9" * 40])
def test_numbers_that_nothing_can_count(number):
    with pytest.raises(UserError, match=r"--epochs is -?1e\+\d+: at most 9223372036854775807"):
        parse_arguments(Some, ["--epochs", number])


@pytest.mark.parametrize("flags", [("--lora_alpha", "4"), ("--merge_adapter",), ("--lora_dropout=0.1", "--lora_r=0")])
def test_an_adapters_options_need_its_rank(flags):
    with pytest.raises(UserError, match=r"--\w+ is given, but no adapter is asked for: give its rank"):
        parse_arguments(LoraArguments, list(flags))
    assert parse_arguments(LoraArguments, [*flags, "--lora_r=2"]).lora_r == 2
    assert parse_arguments(LoraArguments, []).lora_r == 0
