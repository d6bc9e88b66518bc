"""How much of what PPO gains would length alone gain? Trains a policy that is paid for its length and nothing else.

    python tests/length_control.py results/quickstart/seed_1 --out /tmp/length

The control of Singhal et al. (2023, arXiv 2310.03716): stage 3 with the run's own options, one thing changed, the
reward. It is −|n − w| for a summary of w words, where n is half as many again as SFT's summaries have. The policy is
then scored by the run's reward model on the test split, greedily, as the run's own was; `gain` splits what each has
over SFT. Writes docs/results/evaluation/length_control.json.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import Fault  # noqa: E402
from forked import forked  # noqa: E402
from planted_faults import DATASETS, STAGES, train  # noqa: E402

from benchmarks.measure import machine  # noqa: E402
from summarize_rlhf.doctor.evidence import BEST, read_lines  # noqa: E402

RESULTS = ROOT / "docs/results/evaluation/length_control.json"
TOLD = ("reward", "tokens", "gold")
LONGER = 1.5  # times the words of SFT's summaries


def length_paid(words: float) -> Any:
    """Score a summary by how far its length is from `words`, which is best."""
    import torch

    from reward_model.scoring import Scorer

    def score(self, bodies, summaries, *_: Any, **__: Any):
        return torch.tensor([-abs(words - len(summary.split())) for summary in summaries])

    return mock.patch.object(Scorer, "score", score)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of ./quickstart.sh")
    parser.add_argument("--out", type=Path, required=True, help="where the control goes; what is finished is kept")
    args = parser.parse_args()
    runs = {stage: args.run / stage for stage in STAGES}
    words = LONGER * fmean(len(row["summary"].split()) for row in read_lines(runs["sft"] / "samples.jsonl"))
    options = {"train.epochs": len([x for x in read_lines(runs["ppo"] / "metrics.jsonl") if "policy/kl" in x])}
    if not (args.out / "ppo" / BEST / "run.json").exists():
        forked(train, Fault("length", "ppo", "", options, patch=lambda: length_paid(words)), args.out / "ppo", runs)
    command = [sys.executable, ROOT / "trlx_inference_gptj.py", "--models", f"sft={runs['sft']}"]
    command += [f"length={args.out / 'ppo' / BEST}", "--reward_model", runs["rm"], "--dataset", DATASETS["ppo"]]
    command += ["--max_length", "256", "--gold", "quickstart.gold:gold_score", "--output_dir", args.out / "inference"]
    subprocess.run(command, cwd=ROOT, check=True)
    kept: dict[str, Any] = {"words": round(words, 1)}
    for name, folder in {"ppo": args.run, "length": args.out}.items():
        found = json.loads((folder / "inference/evaluation.json").read_text(encoding="utf-8"))
        models = {x: {part: found["models"][x][part] for part in TOLD} for x in ("sft", name)}
        kept[name] = {"gain": found["gain"], "models": models}
    record = {"command": f"python tests/length_control.py {args.run.name}", "machine": machine()} | kept
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
