"""A preset's values replace the defaults, and what is given replaces them."""

import dataclasses
import json
from typing import Any

import pytest

import trlx_gptj_text_summarization as stage_3
from reward_model.train_reward_model_gptj import RewardArguments
from sft.train_gptj_summarize import SFTArguments
from summarize_rlhf import UserError
from summarize_rlhf.run import presets
from summarize_rlhf.run.arguments import parse_arguments
from summarize_rlhf.run.overrides import flatten
from summarize_rlhf.run.presets import FOLDER, NAMES, read_preset, read_reasons

KINDS = {"sft": SFTArguments, "rm": RewardArguments}
STAGES = (*KINDS, "ppo")


def arguments(monkeypatch, stage: str, *argv: str) -> dict[str, Any]:
    """A stage's arguments by (dotted) name, from its command line."""
    monkeypatch.setattr("sys.argv", ["script.py", *argv])
    if stage == "ppo":
        config, task = stage_3.configure()
        return flatten(config.to_dict() | {"task": vars(task)})
    return dataclasses.asdict(parse_arguments(KINDS[stage], stage=stage))


@pytest.mark.parametrize("stage", STAGES)
def test_every_value_reaches_its_argument_and_nothing_else_changes(monkeypatch, stage: str) -> None:
    plain = arguments(monkeypatch, stage)
    assert arguments(monkeypatch, stage, "--preset", "carper") == plain
    for name in NAMES[1:]:
        values = read_preset(stage, name)
        found = arguments(monkeypatch, stage, "--preset", name)
        assert {key: found[key] for key in values} == values
        assert all(x != plain.get(key, "absent") for key, x in values.items()), "a preset lists what differs"
        emptied = () if stage != "ppo" else ("scheduler.kwargs", "optimizer.kwargs", "method.gen_experience_kwargs")
        same = {key for key in plain if key not in values and not key.startswith(emptied)}
        same -= {"preset", "method.value_model"}
        assert {key: found[key] for key in same} == {key: plain[key] for key in same}


@pytest.mark.parametrize("stage", KINDS)
def test_a_flag_beats_the_preset_wherever_it_stands(monkeypatch, tmp_path, stage: str) -> None:
    preset = read_preset(stage, "paper")
    for argv in (["--learning_rate", "0.5", "--preset", "paper"], ["--preset=paper", "--learning_rate=0.5"]):
        found = arguments(monkeypatch, stage, *argv)
        assert (found["learning_rate"], found["lr_scheduler_type"]) == (0.5, "cosine")
    file = tmp_path / "arguments.yaml"
    file.write_text("preset: paper\nlearning_rate: 0.5\n")
    found = arguments(monkeypatch, stage, str(file))
    assert found["learning_rate"] == 0.5
    assert found["num_train_epochs"] == preset["num_train_epochs"] == 1


def test_an_override_beats_the_preset_in_stage_3(monkeypatch) -> None:
    given = {"method.init_kl_coef": 0.3, "method": {"gen_experience_kwargs": {"temperature": 0.9}}}
    for argv in ((json.dumps(given), "--preset", "modern"), ("--preset=modern", json.dumps(given))):
        found = arguments(monkeypatch, "ppo", *argv)
        assert found["method.init_kl_coef"] == 0.3
        assert found["method.gen_experience_kwargs.temperature"] == 0.9
        assert found["method.gen_experience_kwargs.max_new_tokens"] == 53
        assert found["scheduler.kwargs.end_factor"] == 0.0
        assert "scheduler.kwargs.T_max" not in found


def test_another_schedule_or_optimizer_does_not_inherit_arguments(monkeypatch) -> None:
    found = arguments(
        monkeypatch, "ppo", '{"scheduler.name": "constant", "optimizer.name": "sgd", "optimizer.kwargs.lr": 1e-3}'
    )
    assert {name: x for name, x in found.items() if ".kwargs" in name and not name.startswith("method")} == {
        "scheduler.kwargs": {},
        "optimizer.kwargs.lr": 1e-3,
    }


def test_a_name_that_is_none_is_refused(monkeypatch, capsys) -> None:
    for stage in STAGES:
        with pytest.raises(SystemExit):
            arguments(monkeypatch, stage, "--preset", "papr")
        assert "papr" in capsys.readouterr().err
    with pytest.raises(UserError, match="--preset is one of carper, paper, modern, not 'papr'"):
        read_preset("sft", "papr")


def test_every_preset_has_its_file_and_every_value_its_source() -> None:
    expected = {f"{stage}_{name}.yaml" for stage in STAGES for name in NAMES[1:]}
    assert {file.name for file in FOLDER.iterdir()} == expected
    for stage in STAGES:
        for name in NAMES:
            assert read_preset(stage, name).keys() == read_reasons(stage, name).keys()
            assert all(len(reason) > 0 for reason in read_reasons(stage, name).values())


@pytest.mark.parametrize("text", ["seed: 1\n", "- seed\n", "seed: [\n"])
def test_a_value_without_its_source_is_refused(monkeypatch, tmp_path, text: str) -> None:
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    (tmp_path / "sft_paper.yaml").write_text(text)
    with pytest.raises(UserError, match=r"cannot read the preset .*sft_paper.yaml"):
        read_preset("sft", "paper")


def test_episodes_and_updates_are_those_of_the_sources() -> None:
    """1 million episodes, and a learning rate that ends with them."""
    for name, batch in (("paper", 256), ("modern", 512)):
        values = read_preset("ppo", name)
        assert values["method.num_rollouts"] == batch
        assert values["train.epochs"] == 10**6 // batch
        assert values["scheduler.kwargs.total_iters"] == values["train.epochs"] * 4


def test_the_critic_starts_from_the_reward_model(monkeypatch) -> None:
    for given, expected in (
        ({}, None),
        ({"task.value_from_reward_model": True, "task.reward_model": "rm/"}, "rm/"),
        ({"task.value_from_reward_model": True, "method.value_model": "other/"}, "other/"),
    ):
        assert arguments(monkeypatch, "ppo", json.dumps(given))["method.value_model"] == expected
    found = arguments(monkeypatch, "ppo", "--preset", "paper", '{"task.reward_model": "rm/"}')
    assert (found["method.value_model"], found["method.num_value_layers_unfrozen"]) == ("rm/", -1)
