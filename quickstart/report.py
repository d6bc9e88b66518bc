"""What the quickstart shows at its end: summary.json, the curves of PPO, and both tables.

    python -m quickstart.report results/quickstart/seed_1 --seed 1

reads what the stages and scripts left in that folder. Gold scores come from the generator (`quickstart.gold`), which
the models never see.
"""

import argparse
import csv
import json
import shutil
from pathlib import Path

from quickstart.gold import gold_score
from summarize_rlhf import hardware
from summarize_rlhf.data import load_rows
from summarize_rlhf.errors import main_guard
from summarize_rlhf.report import format_table, paired_bootstrap
from summarize_rlhf.rouge import rouge

DATA = Path(__file__).resolve().parent / "data"
STAGES = ("sft", "rm", "ppo", "reward_test", "inference")


def read_csv(path: Path) -> dict[str, list[str]]:
    """A CSV file as columns."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def read_metrics(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judge(folder: Path, model: str, way: str) -> dict[str, list[float]]:
    """Reward and gold score of each of a model's summaries, and the reference's reward."""
    table = read_csv(folder / f"{model}_{way}.csv")
    return {
        "summary": table["summary"],
        "reference": table["reference"],
        "reward": [float(x) for x in table["reward"]],
        "reference_reward": [float(x) for x in table["reference_reward"]],
        "gold": [gold_score(p, s) for p, s in zip(table["prompt"], table["summary"], strict=True)],
    }


def mean(xs: list[float]) -> float:
    return sum(xs) / len(xs)


def figures(greedy: dict, sampled: dict) -> dict[str, float]:
    """A model's row of summary.json: greedy summaries, and what sampled ones reach."""
    return {
        **rouge(greedy["summary"], greedy["reference"]),
        "reward": mean(greedy["reward"]),
        "reward_delta": mean(greedy["reward"]) - mean(greedy["reference_reward"]),
        "gold": mean(greedy["gold"]),
        "reward_sampled": mean(sampled["reward"]),
        "gold_sampled": mean(sampled["gold"]),
    }


def baselines() -> dict[str, dict[str, float]]:
    """ROUGE against the test references of what needs no model: the post's first sentence, and its title."""
    rows = load_rows(DATA / "openai_summarize_tldr", "test", ["prompt", "label"])
    bodies = [prompt.split("TITLE: ", 1)[1] for prompt in rows["prompt"]]
    titles = [body.split("\nPOST: ", 1)[0] for body in bodies]
    leads = [body.split("\nPOST: ", 1)[1].split(". ", 1)[0] for body in bodies]
    return {"lead": rouge(leads, rows["label"]), "title": rouge(titles, rows["label"])}


def gold_curve(samples: Path) -> dict[int, float]:
    """Mean gold score of the samples of each evaluation, by training batch."""
    scores: dict[int, list[float]] = {}
    for row in read_metrics(samples):
        scores.setdefault(row["step"], []).append(gold_score(row["prompt"], row["output"]))
    return {step: mean(values) for step, values in scores.items()}


def draw_curves(metrics: list[dict[str, float]], gold: dict[int, float], path: Path) -> None:
    """Reward, gold score, KL and length of PPO's samples against the training batch, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rounds = [line for line in metrics if "rollout_scores/mean" in line]
    steps = [line["step"] for line in rounds]
    panels = {
        "reward − reward of the reference": (steps, [line["rollout_scores/mean"] for line in rounds]),
        "gold score, which no model sees": (list(gold), list(gold.values())),
        "KL to the SFT model, nats an episode": (steps, [line["policy/kl"] for line in rounds]),
        "response length, tokens": (steps, [line["rollouts/response_length"] for line in rounds]),
    }
    figure, axes = pyplot.subplots(1, len(panels), figsize=(15, 3.4), layout="constrained")
    for axis, (title, (x, y)) in zip(axes, panels.items(), strict=True):
        axis.plot(x, y, color="#2a6f97", marker=".")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("training batch")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def collect(run: Path, seed: int) -> dict:
    """summary.json of the run in `run`."""
    folder = run / "inference"
    sft, ppo = ({way: judge(folder, model, way) for way in ("greedy", "sample")} for model in ("sft", "ppo"))
    rounds = [line for line in read_metrics(run / "ppo/metrics.jsonl") if "policy/kl" in line]
    gain = {
        f"{name}_{way}": paired_bootstrap(ppo[way][name], sft[way][name])
        for name in ("reward", "gold")
        for way in ("greedy", "sample")
    }
    return {
        "rm": {
            "accuracy": read_json(run / "reward_test/reward_test.json")["accuracy"],
            "ceiling": read_json(DATA / "ceiling.json")["test"],
        },
        "sft": figures(**{"greedy": sft["greedy"], "sampled": sft["sample"]}),
        "ppo": figures(**{"greedy": ppo["greedy"], "sampled": ppo["sample"]}) | {"kl": rounds[-1]["policy/kl"]},
        "ppo_minus_sft": gain,
        "baselines": baselines(),
        "gold_by_step": gold_curve(run / "ppo/samples.jsonl"),
        "reference_gold": mean([gold_score(p, r) for p, r in zip(*_references(folder), strict=True)]),
        "seconds": {stage: int((run / "seconds" / stage).read_text()) for stage in STAGES},
        "seed": seed,
        "machine": hardware.machine(),
        "commit": hardware.commit(),
        "versions": hardware.versions(),
    }


def _references(folder: Path) -> tuple[list[str], list[str]]:
    table = read_csv(folder / "sft_greedy.csv")
    return table["prompt"], table["reference"]


def tables(summary: dict) -> str:
    """Both tables of the README, and what they rest on."""
    names = {"SFT": summary["sft"], "PPO": summary["ppo"]}
    keys = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "average": "rougeAvg"}
    all_rows = names | {"lead sentence": summary["baselines"]["lead"], "title": summary["baselines"]["title"]}
    rouges = [{"model": n} | {head: row[key] for head, key in keys.items()} for n, row in all_rows.items()]
    rewards = [
        {
            "model": name,
            "reward": row["reward"],
            "Δ": row["reward_delta"],
            "gold": row["gold"],
            "reward (sampled)": row["reward_sampled"],
            "gold (sampled)": row["gold_sampled"],
        }
        for name, row in names.items()
    ]
    lines = [
        f"\nROUGE of greedy summaries, test\n{format_table(rouges)}",
        "\nAverage reward, Δ = less the reference's, and the gold score that no model sees "
        f"(references: {summary['reference_gold']:.3f})\n{format_table(rewards)}\n",
    ]
    for name, gain in summary["ppo_minus_sft"].items():
        interval = f"95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}"
        lines.append(f"PPO − SFT, {name.replace('_', ', ')}: {gain['mean']:+.3f}, {interval}")
    rm = summary["rm"]
    lines.append(f"Reward model: accuracy {rm['accuracy']:.3f} on held-out pairs (at best {rm['ceiling']:.3f})")
    seconds = ", ".join(f"{stage} {time} s" for stage, time in summary["seconds"].items())
    lines.append(f"KL of PPO to SFT: {summary['ppo']['kl']:.2f} nats. Time: {seconds}")
    return "\n".join(lines)


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder with sft, rm, ppo, reward_test, inference and seconds")
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    summary = collect(args.run, args.seed)
    (args.run / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    metrics, samples = read_metrics(args.run / "ppo/metrics.jsonl"), args.run / "ppo/samples.jsonl"
    draw_curves(metrics, gold_curve(samples), args.run / "ppo_curves.png")
    shown = [
        "summary.json",
        "ppo_curves.png",
        *(f"inference/{m}_{w}.csv" for m in ("sft", "ppo") for w in ("greedy", "sample")),
    ]
    for name in [*shown, "inference/rouge.csv", "inference/reward.csv", "ppo/samples.jsonl"]:
        shutil.copy(args.run / name, args.run.parent / Path(name).name)
    print(tables(summary))
    print(f"\nwrote {args.run.parent}/: summary.json, ppo_curves.png, samples.jsonl, rouge.csv, reward.csv, summaries")


if __name__ == "__main__":
    main()
