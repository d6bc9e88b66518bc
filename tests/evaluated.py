"""Runs of trlx_inference_gptj.py on three tiny models, for tests of what it writes."""

import csv
from pathlib import Path

from stage_models import ROOM

POSTS, NEW = 6, 9
MODELS = ("sft", "ppo", "other")
FUNCTIONS = """
def gold(prompt, summary):
    return float(len(summary.split()) + len(prompt) / 1000)

def judge(post, first, second):
    return 0.5 if len(first) == len(second) else float(len(first) > len(second))
"""


def options(folder: Path, out: str) -> dict[str, object]:
    values = {"reward_model": folder / "rm", "dataset": folder / "data", "max_length": ROOM, "max_new_tokens": NEW}
    values |= {"decoding": "both", "samples": 2, "seed": 4, "best_of": 5, "best_of_posts": 4}
    values |= {"gold": "of_the_user:gold", "judge": "of_the_user:judge", "judge_pairs": folder / "pairs"}
    return values | {"output_dir": folder / out}


def arguments(folder: Path, out: str) -> list[str]:
    named = [f"{name}={folder / name}" for name in MODELS]
    return ["--models", *named, *(str(x) for both in options(folder, out).items() for x in (f"--{both[0]}", both[1]))]


def table(out: Path, name: str) -> list[dict[str, str]]:
    with (out / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
