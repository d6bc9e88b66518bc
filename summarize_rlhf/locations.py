"""Where each stage leaves its model by default, and the published model that takes its place where there is none."""

from pathlib import Path
from typing import NamedTuple

from summarize_rlhf.versions import ROOT


class Location(NamedTuple):
    """A stage's directory, the id of the published model on the Hub, and the folder of the run if it is another one.

    In the order in which `find_model` and `check_found` (summarize_rlhf/lm/weights.py) take them.
    """

    directory: Path
    hub_id: str
    run_dir: Path | None = None


PPO_RUN_DIR = ROOT / "ckpts"
SFT_MODEL = Location(ROOT / "sft/gptj-supervised-summarize-checkpoint", "CarperAI/openai_summarize_tldr_sft")
PPO_MODEL = Location(PPO_RUN_DIR / "best_checkpoint/hf_model", "CarperAI/openai_summarize_tldr_ppo", PPO_RUN_DIR)
REWARD_MODEL_DIR = ROOT / "reward_model/rm_checkpoint"  # its published file: python -m reward_model.download
