"""Published recipes by name: what each sets of a stage's arguments, and where the value comes from.

`configs/presets/<stage>_<name>.yaml` is a file of arguments like any other, with the source of each value behind it.
"carper" is the published example, whose values are the defaults and need no file.
"""

import re
from typing import Any

import yaml

from summarize_rlhf import UserError
from summarize_rlhf.reading import reading
from summarize_rlhf.versions import ROOT

NAMES = ("carper", "paper", "modern")
HELP = (
    "recipe whose values replace the defaults: carper (the published example: none), paper (Stiennon et al. 2020), "
    "modern (Huang et al. 2024); docs/recipes.md. A value that is given beats it"
)
FOLDER = ROOT / "configs" / "presets"
LINE = re.compile(r"([\w.]+): [^#]*# (.+)")


def read_preset(stage: str, name: str) -> dict[str, Any]:
    """Return the values of the preset `name` for `stage` ("sft", "rm" or "ppo"), by the argument's (dotted) name.

    Raises `UserError` for a name that is none and for a file that is damaged.
    """
    if name not in NAMES:
        raise UserError(f"--preset is one of {', '.join(NAMES)}, not {name!r}")
    return {} if name == NAMES[0] else _content(stage, name)[0]


def read_reasons(stage: str, name: str) -> dict[str, str]:
    """Return for each value of a preset what stands behind it: its source."""
    return {} if name == NAMES[0] else _content(stage, name)[1]


def _content(stage: str, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    file = FOLDER / f"{stage}_{name}.yaml"
    with reading(file, "preset", "copy it again"):
        text = file.read_text(encoding="utf-8")
        values, reasons = yaml.safe_load(text), dict(LINE.findall(text))
        if not isinstance(values, dict) or values.keys() != reasons.keys():
            raise ValueError("each line should be 'name: value  # source'")
    return values, reasons
