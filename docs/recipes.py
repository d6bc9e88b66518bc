"""The table of docs/recipes.md: what the presets of each stage set, beside the defaults, and why."""

import dataclasses
import json
import runpy
from pathlib import Path
from typing import Any

from reward_model.train_reward_model_gptj import RewardArguments
from sft.train_gptj_summarize import SFTArguments
from summarize_rlhf.report import format_table
from summarize_rlhf.run.overrides import flatten
from summarize_rlhf.run.presets import NAMES, read_preset, read_reasons

ROOT = Path(__file__).resolve().parents[1]
TITLES = {"sft": "Stage 1, SFT", "rm": "Stage 2, reward model", "ppo": "Stage 3, PPO"}


def defaults(stage: str) -> dict[str, Any]:
    """Return the defaults of a stage by (dotted) name."""
    kinds = {"sft": SFTArguments, "rm": RewardArguments}
    if stage in kinds:
        return {field.name: field.default for field in dataclasses.fields(kinds[stage])}
    script = runpy.run_path(str(ROOT / "trlx_gptj_text_summarization.py"))
    return flatten(script["config"].to_dict() | {"task": vars(script["Task"]())})


def rows(stage: str) -> list[dict[str, str]]:
    """Return a row for each argument that some preset sets: its value in each, and where it comes from."""
    known, others = defaults(stage), NAMES[1:]
    values = {name: read_preset(stage, name) for name in others}
    reasons = {name: read_reasons(stage, name) for name in others}
    table = []
    for argument in dict.fromkeys(x for name in others for x in values[name]):
        row = {"": f"`{argument}`", NAMES[0]: shown(known.get(argument))}
        row |= {name: shown(values[name].get(argument, known.get(argument))) for name in others}
        said = {f"{name}: {reasons[name][argument]}" for name in others if argument in reasons[name]}
        table.append(row | {"source": "; ".join(sorted(said, reverse=True)).replace("|", r"\|")})
    return table


def shown(value: Any) -> str:
    return json.dumps(value).strip('"')


def recipes() -> str:
    """Format a table for each stage."""
    return "\n\n".join(f"## {title}\n\n{format_table(rows(stage))}" for stage, title in TITLES.items())
