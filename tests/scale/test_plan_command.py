"""The planner as a command, its measuring replaced by numbers: what reaches a setup, what is told, what is written."""

import json
import re
import shlex
import shutil
import sys
from dataclasses import replace

import pytest
from peft import LoraConfig
from planned import SETUP
from tiny import gptj_config
from transformers import GPTJConfig, T5Config

from summarize_rlhf import UserError
from summarize_rlhf.lm.footprint import Footprint, Peak
from summarize_rlhf.plan import __main__ as command
from summarize_rlhf.plan import advice, measuring, setups
from summarize_rlhf.plan.__main__ import PlanArguments, setup_of
from summarize_rlhf.versions import ROOT

ZERO_3 = str(ROOT / "configs/deepspeed/zero3.json")


@pytest.fixture
def plan(monkeypatch, capsys, tmp_path):
    """Runs the command with flags, each setup's needs given in GB: (of a GPU, of a process); what it told and wrote."""

    def run(needed, **flags: object) -> tuple[str, dict]:
        def measured(_config):
            def measure(setup):
                gpu, host = (round(x * 1e9) for x in needed(setup))
                return Footprint(Peak(gpu, {"weights": gpu}), Peak(host, {"optimizer": host - 1e8, "scratch": 1e8}))

            return measure

        monkeypatch.setattr(command, "Measured", measured)
        monkeypatch.setattr(command, "prepare", lambda: None)
        file = tmp_path / "folder" / "plan.json"
        words = [f"--{name}={x}" for name, x in {**flags, "json": file}.items()]
        monkeypatch.setattr(sys, "argv", ["plan", *words])
        command.main()
        return capsys.readouterr().out, json.loads(file.read_text(encoding="utf-8"))

    return run


def cells(told: str) -> list[dict[str, str]]:
    """The table's rows, by the names of its columns."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in told.splitlines() if line[:1] == "|"]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_what_two_gpus_need_and_what_is_there(plan) -> None:
    """Two processes of 10 GB beside the libraries' .7 in 20 GB of 1e9 bytes: 1.4 too much."""
    told, found = plan(lambda s: (40, 10), gpus="2x80", stage="sft", host=20, advise=False)
    (row,) = cells(told)
    assert (row["each GPU"], row["main memory"], row["fits"]) == ("41.0", "21.4", "no")
    assert (row["weights"], row["optimizer"], row["others"]) == ("40.0", "0.0", "0.0")
    assert "nearest" not in told
    assert found["plans"][0]["needs"] == {"main memory": [21.4e9, 20e9], "each GPU": [41e9, 80e9]}
    told, _ = plan(lambda s: (40, 10), gpus="2x80", stage="sft", host=21.5, advise=False)
    assert cells(told)[0]["fits"] == "yes"


def test_without_gpus_the_kinds_are_those_of_main_memory(plan) -> None:
    told, _ = plan(lambda s: (0, 4), gpus="3xcpu", stage="rm", host=15)
    (row,) = cells(told)
    assert (row["GPUs"], row["each GPU"], row["main memory"]) == ("3 × CPU", "", "14.1")
    assert (row["optimizer"], row["others"]) == ("3.9", "0.1")
    assert "--deepspeed_config" not in told  # the optimizer is where all is
    told, _ = plan(lambda s: (0, 4), gpus="1xcpu", stage="ppo", host=15)
    assert "--config_file configs/default_accelerate_config.yaml" in told


def test_the_nearest_is_told_with_its_command(plan) -> None:
    told, found = plan(lambda s: (s.batch * 10, 1), gpus="1x24", stage="sft", host=100)
    assert "does not fit; the nearest that does: 1 × 24 GB" in told
    assert [(p["batch"], p["fits"]) for p in found["plans"]] == [(16, False), (2, True)]
    assert "--per_device_train_batch_size 2 " in told
    told, _ = plan(lambda s: (1, 300), gpus="1x24", stage="sft", host=100)
    assert "does not fit, nor does anything that was tried, in 100 GB of main memory" in told


def test_each_argument_reaches_the_setup(tmp_path) -> None:
    made = setup_of(PlanArguments(trainable_fraction=0.1, reward_model="r", deepspeed_config=ZERO_3), "rm", "1x24")
    assert (made.trainable_fraction, made.reward_model, made.file, made.offload) == (0.1, "r", ZERO_3, False)
    own = setup_of(PlanArguments(deepspeed_config="sft/ds_config_gptj.json"), "rm", "1x24")
    assert own.offload
    (tmp_path / "more.yaml").write_text("method:\n  chunk_size: 2\n", encoding="utf-8")
    for given in ('{"method.chunk_size": 2}', '{"method": {"chunk_size": 2}}', str(tmp_path / "more.yaml")):
        made = setup_of(PlanArguments(overrides=given), "ppo", "1x24")
        assert json.loads(made.overrides) == {"method.chunk_size": 2}


def test_the_command_has_all_that_was_planned() -> None:
    told = setups.command("m", replace(SETUP, stage="rm", trainable_fraction=0.1, file="own file.json"))
    assert shlex.split(told)[-4:] == ["--trainable_fraction", "0.1", "--deepspeed_config", "own file.json"]
    setup = replace(SETUP, stage="ppo", offload=False, overrides='{"method.chunk_size": 2, "train.minibatch_size": 8}')
    told = setups.command("m", setup)
    given = json.loads(shlex.split(told)[-1])
    assert (given["method.chunk_size"], given["train.minibatch_size"]) == (2, 8)
    assert "--config_file configs/accelerate/8gpus.yaml" in told
    assert "--use_deepspeed --deepspeed_config_file own.json" in setups.command("m", replace(setup, file="own.json"))
    found = measuring.ppo_settings(setup)  # as the command would
    assert (found.method.chunk_size, found.train.minibatch_size, found.train.seq_length) == (2, 8, 40)


def test_the_devices_that_are_tried() -> None:
    """Those that are there first, then larger ones, then more of 80 GB; none twice."""
    assert advice.devices_from(replace(SETUP, gpus=2, size=48.0)) == [(2, 48), (2, 80), (2, 141), (4, 80), (8, 80)]
    assert advice.devices_from(replace(SETUP, gpus=4, size=None)) == [(4, None), (2, None), (1, None)]


# --- what cannot be planned


def changed(**numbers: int) -> GPTJConfig:
    config = gptj_config(400)
    for name, number in numbers.items():
        setattr(config, name, number)
    return config


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"overrides": "{nonsense"}, r"cannot read the overrides \{nonsense: .*they should be valid JSON"),
        ({"overrides": "[1]"}, r"the overrides should be an object like"),
        ({"overrides": '{"train.sq_length": 3}'}, r"'train.sq_length' names no option. Did you mean 'seq_length'"),
        ({"overrides": '{"train.seq_length": "x"}'}, "seq_length should be a whole number"),
        ({"overrides": '{"method.num_rollouts": 0}'}, "num_rollouts"),
        ({"max_length": 40}, "train.seq_length 40 leaves no token for a prompt beside max_new_tokens 50"),
        ({"overrides": '{"model.peft_config": {"peft_type": "NONSENSE"}}'}, "peft_type should be a type of peft"),
    ],
)
def test_settings_that_stage_3_would_refuse(plan, flags, told, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        plan(lambda s: pytest.fail("measured"), stage="ppo", **flags)
    assert ended.value.code == 2
    assert re.search(told, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (T5Config(), "holds a 't5' model, which is no causal language model"),
        (changed(n_head=7), "embed_dim must be divisible by num_attention_heads"),
        (changed(n_layer=0), "it has no layers"),
    ],
    ids=["t5", "heads", "no layers"],
)
def test_models_that_are_no_causal_language_models(config, told, tmp_path) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=told):
        measuring.config_of(str(tmp_path))


def test_an_adapter_is_planned_as_its_base(tmp_path) -> None:
    gptj_config(400, layers=3).save_pretrained(tmp_path / "base")
    LoraConfig(base_model_name_or_path=str(tmp_path / "base")).save_pretrained(tmp_path / "adapter")
    assert measuring.config_of(str(tmp_path / "adapter")).n_layer == 3


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(plan, tmp_path, capsys) -> None:
    for spoil, told in (
        (lambda: (tmp_path / "folder/plan.json").mkdir(parents=True), "plan.json is a directory: name a file"),
        (lambda: [shutil.rmtree(tmp_path / "folder"), (tmp_path / "folder").touch()], "folder is a file"),
    ):
        spoil()
        with pytest.raises(SystemExit):
            plan(lambda s: pytest.fail("measured"), stage="sft")
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"max_length": 2049}, "--max_length is 2049 tokens, but the model EleutherAI/gpt-j-6B reads 2048 at most"),
        ({"gpus": "1025x80"}, "--gpus is '1025x80': 1024 GPUs or processes are the most that are planned"),
        ({"batch": 5000}, "--batch is 5000: it should be at most 4096"),
    ],
)
def test_numbers_that_are_too_large(plan, flags, told, capsys) -> None:
    with pytest.raises(SystemExit):
        plan(lambda s: pytest.fail("measured"), stage="sft", **flags)
    assert told in capsys.readouterr().err
