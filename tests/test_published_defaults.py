"""The defaults are the published ones, every one of them, and each argument reaches what it is meant for."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import forked
from published_values import FILES, OURS, PUBLISHED

import trlx_gptj_text_summarization as stage_3
from reward_model import train_reward_model_gptj as rm
from reward_model.train_reward_model_gptj import RewardArguments
from sft import train_gptj_summarize as sft
from sft.train_gptj_summarize import SFTArguments
from summarize_rlhf.lm.precision import dtype_for
from summarize_rlhf.lm.weights import find_model
from summarize_rlhf.locations import SFT_MODEL
from summarize_rlhf.run import launch
from summarize_rlhf.run.trainer_arguments import FIXED
from trlx.utils.modeling import flatten_dict

STAGES = {"sft": SFTArguments, "rm": RewardArguments}


def defaults(stage: str) -> dict[str, Any]:
    """The defaults of a stage by name, those of stage 3 dotted: section and option."""
    if stage in STAGES:
        return {field.name: field.default for field in dataclasses.fields(STAGES[stage])}
    sections = stage_3.config.to_dict() | {"task": vars(stage_3.Task())}
    found = {f"{section}.{name}": x for section, options in sections.items() for name, x in options.items()}
    local = find_model(SFT_MODEL.directory, "hub")
    swapped = {name: "CarperAI/openai_summarize_tldr_sft" for name, x in found.items() if x == local}
    return found | swapped  # where stage 1 has been run in this tree, its directory comes before the Hub's


@pytest.mark.parametrize("stage", PUBLISHED)
def test_every_default_is_the_published_one_or_ours_for_a_reason(stage):
    table = PUBLISHED[stage] | {name: value for name, (value, _) in OURS[stage].items()}
    assert not PUBLISHED[stage].keys() & OURS[stage].keys()
    found = defaults(stage)
    assert found.keys() == table.keys(), "a new argument needs its line in published_values.py"
    assert {
        name: x for name, x in found.items() if (x, type(x) is bool) != (table[name], type(table[name]) is bool)
    } == {}
    assert all(len(reason) > 8 for _, reason in OURS[stage].values())


@pytest.mark.parametrize("file", FILES)
def test_the_files_of_deepspeed_and_accelerate_say_what_was_published(root, file):
    assert (
        flatten_dict(yaml.safe_load((root / file).read_text(encoding="utf-8").replace("5e8", "5.0e+8")), sep=".")
        == FILES[file]
    )


# --- what the Trainer gets

MODULES = {"sft": sft, "rm": rm}
OTHER = {
    "num_train_epochs": 7.0, "max_steps": 11, "learning_rate": 3e-4, "lr_scheduler_type": "cosine", "warmup_steps": 13,
    "adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-5, "weight_decay": 0.3, "max_grad_norm": 2.0,
    "eval_steps": 17, "per_device_eval_batch_size": 3, "save_steps": 19, "save_total_limit": 5, "logging_steps": 23,
    "seed": 29, "per_device_train_batch_size": 2,
}  # fmt: skip


def shown(stage: str, changes: list[dict]) -> list[dict]:
    """TrainingArguments of the stage, as text where they are no number."""
    launch.join_launch()
    made = [MODULES[stage].training_arguments(STAGES[stage](**values), Path("x"), dtype_for()) for values in changes]
    clipping = [{"clipping": one.hf_deepspeed_config.config["gradient_clipping"]} for one in made]
    return json.loads(json.dumps([vars(one) | more for one, more in zip(made, clipping, strict=True)], default=str))


@pytest.mark.parametrize("stage", STAGES)
def test_each_argument_reaches_the_trainer(stage):
    """By default as published, and otherwise as it is given."""
    changes = [{"report_to": "none"}, OTHER | {"report_to": "none", "global_batch_size": 6}]
    plain, other = forked(shown, stage, changes)
    for name in OTHER.keys() - {"max_grad_norm"}:
        assert plain[name] == defaults(stage)[name], name
        assert other[name] == OTHER[name], name
    assert (plain["max_grad_norm"], plain["clipping"]) == (0.0, 0.0)
    assert (other["max_grad_norm"], other["clipping"]) == (2.0, 2.0)
    assert plain["gradient_accumulation_steps"] == {"sft": 8, "rm": 32}[stage]
    assert other["gradient_accumulation_steps"] == 3
    assert (plain["eval_strategy"], plain["save_strategy"], plain["load_best_model_at_end"]) == (
        "steps",
        "steps",
        False,
    )
    for name, value in (FIXED | {"optim": "adamw_torch_fused"}).items():
        assert plain[name] in (value, str(value)), name
