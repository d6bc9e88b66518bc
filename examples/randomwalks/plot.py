"""Plot several runs of `ppo_randomwalks.py`, and write a raw file.

python examples/randomwalks/ppo_randomwalks.py '{"train.seed": 1, "train.checkpoint_dir": "ckpts/1"}'
…
python examples/randomwalks/plot.py docs/results/randomwalks ckpts/1 ckpts/2 ckpts/3
"""

import argparse
import json
from pathlib import Path

import matplotlib

from summarize_rlhf.versions import commit, machine, versions

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def curve(run: Path) -> dict:
    """Read a run's seed, optimality at each evaluation, and KL of each collection."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = f"checkpoint_{lines[-1]['step']}/hf_model/run.json"
    record = json.loads((run / last).read_text(encoding="utf-8"))
    evaluations = [line for line in lines if "metrics/optimality" in line]
    collections = [line for line in lines if "policy/kl" in line]
    return {
        "seed": record["seed"],
        "commit": record["commit"],
        "step": [line["step"] for line in evaluations],
        "optimality": [round(line["metrics/optimality"], 4) for line in evaluations],
        "arrived": [round(line["metrics/arrived"], 4) for line in evaluations],
        "kl": [round(line["policy/kl"], 4) for line in collections],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="directory for curves.json and curves.png")
    parser.add_argument("runs", type=Path, nargs="+", help="checkpoint directories of the runs")
    arguments = parser.parse_args()
    curves = [curve(run) for run in arguments.runs]
    raw = {
        "script": "examples/randomwalks/ppo_randomwalks.py",
        "commit": commit(),
        "hardware": machine(),
        "versions": versions(),
        "curves": curves,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "curves.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for each in curves:
        axes.plot(each["step"], each["optimality"], label=f"seed {each['seed']}")
    axes.axhline(0.95, color="grey", linestyle=":")
    axes.set(xlabel="training batches", ylabel="optimality (shortest / taken)", ylim=(0.5, 1.02), title="Random walks")
    axes.legend()
    figure.savefig(arguments.out / "curves.png", dpi=120)
    for each in curves:
        print(f"seed {each['seed']}: optimality {each['optimality'][0]:.3f} -> {each['optimality'][-1]:.3f}")


if __name__ == "__main__":
    main()
