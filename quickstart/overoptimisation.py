"""Reward against gold score over a PPO run: does what the reward model pays for still make better summaries?

    python -m quickstart.overoptimisation results/quickstart/seed_1/ppo docs/results/overoptimisation/kl_0.15

reads the metrics and evaluation samples of a run of stage 3 on the embedded data and writes a table as JSON and a
picture. A reward that rises while gold falls is over-optimisation (Stiennon et al. 2020, figure 5).
"""

import argparse
import json
from pathlib import Path

from quickstart.report import draw_curves, gold_curve, read_metrics
from summarize_rlhf.errors import main_guard
from summarize_rlhf.report import format_table


def table(run: Path) -> list[dict[str, float]]:
    """One row per evaluation: training batch, mean reward and gold score of its samples, KL of the last rollouts."""
    gold, rows, kl = gold_curve(run / "samples.jsonl"), [], 0.0
    for line in read_metrics(run / "metrics.jsonl"):
        kl = line.get("policy/kl", kl)
        if "reward/mean" in line:
            rows.append({"batch": line["step"], "reward": line["reward/mean"], "gold": gold[line["step"]], "KL": kl})
    return rows


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="train.checkpoint_dir of the run")
    parser.add_argument("out", type=Path, help="written as OUT.json and OUT.png")
    args = parser.parse_args()
    record = json.loads((args.run / "best_checkpoint/hf_model/run.json").read_text(encoding="utf-8"))
    rows = table(args.run)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"evaluations": rows, "arguments": record["arguments"], "commit": record["commit"]}, indent=2)
    args.out.with_name(args.out.name + ".json").write_text(text + "\n", encoding="utf-8")
    metrics = read_metrics(args.run / "metrics.jsonl")
    draw_curves(metrics, gold_curve(args.run / "samples.jsonl"), args.out.with_name(args.out.name + ".png"))
    print(format_table(rows))


if __name__ == "__main__":
    main()
