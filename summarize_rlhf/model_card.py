"""README.md of a model's directory: what it is, how it was made, how good it was, what it is not good for.

It begins with the YAML that the Hugging Face Hub reads. All figures are those of run.json; nothing is measured here.
"""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from summarize_rlhf.handover import without_secrets
from summarize_rlhf.reading import printable

CARD_FILE = "README.md"
TITLES = {
    "sft": "Summaries: supervised fine-tuning",
    "rm": "Reward model of summaries",
    "ppo": "Summaries from human feedback: PPO",
}
TAGS = {"sft": ["summarization", "sft"], "rm": ["summarization", "reward-model", "rlhf"]}
TAGS["ppo"] = ["summarization", "rlhf", "ppo"]
PAPER = "learning to summarize from human feedback ([Stiennon et al. 2020](https://arxiv.org/abs/2009.01325))"
WHAT = {
    "sft": "A causal language model that continues a Reddit post with its TL;DR, trained on summaries that people "
    f"wrote: stage 1 of {PAPER}.",
    "rm": "A language model with a linear head that scores a summary of a Reddit post, trained on pairs of which "
    f"people preferred one: stage 2 of {PAPER}.",
    "ppo": "A causal language model that continues a Reddit post with its TL;DR, trained by PPO against a reward "
    f"model: stage 3 of {PAPER}.",
}
PROMPT = (
    "It loads with `AutoModelForCausalLM.from_pretrained`. The prompt ends with `TL;DR:`; the summary follows it after "
    "a space, and ends with EOS."
)
USE = {
    "sft": PROMPT,
    "rm": "It loads with `reward_model.scoring.Scorer.from_pretrained` of this repository, not with an `AutoModel`: "
    "the head is not one that transformers knows. Scores have no zero; compare summaries of one post.",
    "ppo": f"{PROMPT} `value_head.safetensors` is for training on.",
}
LIMITS = {
    "sft": "It imitates its data, with their errors and their tone. A summary may say what the post does not.",
    "rm": "It is right as often as the table says, on data like its own. What it rewards beside quality, such as "
    "length, is to be found out before a policy is trained against it: `python reward_model/gptj_reward_test.py`.",
    "ppo": "It was trained towards a reward model and has its blind spots: a higher reward is not a better summary. A "
    "summary may say what the post does not. Compare it with the SFT model: `python trlx_inference_gptj.py`.",
}
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def write_model_card(directory: Path, record: dict[str, Any]) -> None:
    """Write the card of the model in `directory`, of which `record` is or will be the run.json. An older one goes."""
    (directory / CARD_FILE).write_text(model_card(without_secrets(record)), encoding="utf-8")


def model_card(record: dict[str, Any]) -> str:
    """Return the card of a model with this run.json."""
    stage, arguments = record["stage"], json.loads(json.dumps(record["arguments"], default=str))
    flat = dict(_flat(arguments))
    adapter = "base_sha256" in record
    front = ModelCardData(
        language="en",
        library_name="peft" if adapter else "transformers",
        pipeline_tag=None if stage == "rm" else "text-generation",
        base_model=_hub_id(flat.get("model") or flat.get("model.model_path") or record.get("model")),
        datasets=[name] if (name := _hub_id(flat.get("dataset"))) else None,
        tags=TAGS[stage],
    )
    results = {
        name: x for name, x in record.get("results", {}).items() if "runtime" not in name and "second" not in name
    }
    data = {f"{split}: {given.get('name', '')}": given.get("rows") for split, given in record.get("data", {}).items()}
    steps = record.get("steps", record.get("step"))
    origin = {"commit": record.get("commit"), **record.get("versions", {})}
    sections = [
        f"---\n{front.to_yaml()}\n---",
        f"# {TITLES[stage]}",
        WHAT[stage] + (" This is a LoRA adapter; `adapter_config.json` names its base model." if adapter else ""),
        f"## Use\n\n{USE[stage]}",
        "## Results\n\n"
        + (_table("on held-out rows", results) if results else "None were measured when it was written."),
        "## Data\n\n" + (_table("rows", data) if data else "Not recorded."),
        f"## Recipe\n\n{_table('value', flat | ({} if steps is None else {'steps': steps}))}",
        f"## Limits\n\n{LIMITS[stage]}",
        f"## Where it comes from\n\n{_table('version', origin)}\n\n"
        "`run.json` has the hashes of the data, of the tokenizer and of each file here.",
    ]
    return "\n\n".join(sections) + "\n"


def _hub_id(name: Any) -> str | None:
    """Return a name that can be one on the Hub, and is no directory here."""
    return name if isinstance(name, str) and HUB_ID.fullmatch(name) and not Path(name).exists() else None


def _flat(section: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    return [
        found
        for name, value in section.items()
        for found in (
            _flat(value, f"{before}{name}.") if isinstance(value, dict) and value else [(before + name, value)]
        )
    ]


def _table(head: str, rows: dict[str, Any]) -> str:
    lines = [f"| {_cell(name)} | {_cell(f'{x:.4g}' if isinstance(x, float) else x)} |" for name, x in rows.items()]
    return "\n".join([f"| | {head} |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    """Return `value` for a cell, with nothing in it that Markdown or HTML would obey."""
    text = printable(" ".join(str(value).split()))
    return re.sub(r"[\\`*_<>|\[\]&#]", lambda found: f"&#{ord(found[0])};", text)
