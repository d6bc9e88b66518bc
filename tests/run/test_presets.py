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


@pytest.mark.parametrize("name", NAMES)
def test_nor_those_of_a_preset(monkeypatch, name: str) -> None:
    """Whatever the preset sets of the optimizer that is replaced; of one that is not, a value may be given."""
    given = {"scheduler.name": "constant", "optimizer": {"name": "sgd", "kwargs": {"lr": 1e-3}}}
    found = arguments(monkeypatch, "ppo", "--preset", name, json.dumps(given))
    kwargs = {name: x for name, x in found.items() if ".kwargs" in name and not name.startswith("method")}
    assert kwargs == {"scheduler.kwargs": {}, "optimizer.kwargs.lr": 1e-3}
    same = {"scheduler": {"name": found_name(name), "kwargs": {"last_epoch": -1}}}
    found = arguments(monkeypatch, "ppo", "--preset", name, json.dumps(same))
    assert len([key for key in found if key.startswith("scheduler.kwargs.")]) > 1


def found_name(preset: str) -> str:
    return "cosine_annealing" if preset == "carper" else "linear"


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


# paper: Stiennon et al. 2020 (appendix B.1, of 6.7B), where it says nothing the code of Ziegler et al. 2019.
# modern: Huang et al. 2024 (details 9 and 10, table of section 7, scripts). The defaults that are theirs, too.
FIGURES = {
    ("sft", "paper"): {
        "num_train_epochs": 1, "global_batch_size": 128, "learning_rate": 2.83e-5, "lr_scheduler_type": "cosine",
        "warmup_steps": 0, "max_length": 512 + 48, "max_new_tokens": 48, "loss_on": "text", "weight_decay": 0,
    },
    ("sft", "modern"): {
        "num_train_epochs": 1, "global_batch_size": 128, "learning_rate": 3e-6, "lr_scheduler_type": "cosine",
        "warmup_steps": 0, "max_length": 562, "max_new_tokens": 53, "adam_beta1": 0.9, "adam_beta2": 0.999,
        "adam_epsilon": 1e-5, "weight_decay": 0.01, "max_grad_norm": None,
    },
    ("rm", "paper"): {
        "loss": "last_token", "trainable_fraction": 1, "num_train_epochs": 1, "global_batch_size": 64,
        "learning_rate": 5e-6, "lr_scheduler_type": "cosine", "warmup_steps": 0, "adam_epsilon": 1e-5,
        "max_length": 7 + 512 + 48, "weight_decay": 0,
    },
    ("rm", "modern"): {
        "loss": "last_token", "trainable_fraction": 1, "num_train_epochs": 1, "global_batch_size": 64,
        "learning_rate": 3e-6, "lr_scheduler_type": "cosine", "warmup_steps": 0, "adam_beta2": 0.999,
        "adam_epsilon": 1e-5, "weight_decay": 0.01, "max_length": 638,
    },
    ("ppo", "paper"): {
        "optimizer.name": "adam", "optimizer.kwargs.lr": 7e-6, "optimizer.kwargs.eps": 1e-5,
        "optimizer.kwargs.weight_decay": 0, "scheduler.name": "linear", "scheduler.kwargs.end_factor": 0,
        "method.num_rollouts": 256, "method.num_minibatches": 1, "method.ppo_epochs": 4, "method.init_kl_coef": 0.05,
        "method.target": None, "method.gamma": 1, "method.lam": 0.95, "method.cliprange": 0.2,
        "method.cliprange_value": 0.2, "method.vf_coef": 0.1, "method.num_value_layers_unfrozen": -1,
        "task.value_from_reward_model": True, "method.cliprange_reward": None, "method.scale_reward": None,
        "method.gen_experience_kwargs.temperature": 0.7, "method.gen_experience_kwargs.max_new_tokens": 48,
        "method.gen_kwargs.do_sample": False, "method.gen_kwargs.max_new_tokens": 48, "train.seq_length": 512 + 48,
        "model.num_layers_unfrozen": -1, "method.score_without_eos": None,
    },
    ("ppo", "modern"): {
        "optimizer.name": "adamw", "optimizer.kwargs.lr": 3e-6, "optimizer.kwargs.eps": 1e-5,
        "optimizer.kwargs.betas": [0.9, 0.999], "optimizer.kwargs.weight_decay": 0.01, "scheduler.name": "linear",
        "scheduler.kwargs.end_factor": 0, "method.num_rollouts": 512, "method.num_minibatches": 1,
        "method.ppo_epochs": 4, "method.init_kl_coef": 0.05, "method.target": None, "method.gamma": 1,
        "method.lam": 0.95, "method.cliprange": 0.2, "method.cliprange_value": 0.2, "method.vf_coef": 0.1,
        "method.num_value_layers_unfrozen": -1, "task.value_from_reward_model": True,
        "method.score_without_eos": -1, "method.cliprange_reward": None, "method.scale_reward": None,
        "method.gen_experience_kwargs.temperature": 0.7, "method.gen_experience_kwargs.max_new_tokens": 53,
        "method.gen_kwargs.do_sample": False, "method.gen_kwargs.max_new_tokens": 53, "train.seq_length": 512 + 53,
        "model.num_layers_unfrozen": -1, "train.max_grad_norm": None,
    },
}  # fmt: skip


@pytest.mark.parametrize(("stage", "name"), FIGURES)
def test_figures_are_those_of_the_sources(monkeypatch, stage: str, name: str) -> None:
    found, figures = arguments(monkeypatch, stage, "--preset", name), FIGURES[stage, name]
    assert {key: found.get(key) for key in figures} == figures
    assert read_preset(stage, name).keys() - figures.keys() <= COUNTS, "a value that no source has been read for"


COUNTS = {"train.epochs", "train.total_steps", "scheduler.kwargs.total_iters", "scheduler.kwargs.start_factor"}
COUNTS |= {"adam_beta2"}  # the test below; and Adam's own


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
