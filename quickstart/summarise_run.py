"""Summarise a run of the quickstart: summary.json, the curves of PPO, and both tables.

    python -m quickstart.summarise_run results/quickstart/seed_1 --seed 1

reads what the stages and scripts left in that folder. Gold scores come from the generator (`quickstart.gold`), which
the models never see.
"""

import argparse
import json
import re
import shutil
from pathlib import Path
from statistics import fmean

from quickstart.measures import (
    OF_A_MODEL,
    WAYS,
    end_less_best,
    gold_of_evaluations,
    measure,
    measure_model,
    read_csv,
    told_apart,
)
from quickstart.tables import changes, inventions, models, reading, rm_accuracy
from summarize_rlhf import versions
from summarize_rlhf.data import load_rows
from summarize_rlhf.intervals import mean_and_se, paired_bootstrap
from summarize_rlhf.report import format_table
from summarize_rlhf.report_page.page import write_report
from summarize_rlhf.rouge import rouge
from summarize_rlhf.run.errors import main_guard

DATA = Path(__file__).resolve().parent / "data"
STAGES = ("sft", "rm", "ppo", "reward_test", "inference")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def read_metrics(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def as_json(record: dict) -> str:
    """`record` as JSON with an indented line per name, and a list of numbers on one line."""
    text = json.dumps(record, indent=2)
    return re.sub(r"\[[\d\s.,eE+-]+\]", lambda found: " ".join(found[0].split()), text) + "\n"


def figures(table: dict[str, list[str]], measured: dict[str, dict[str, list[float]]], model: str) -> dict[str, float]:
    """A model's row of summary.json: ROUGE and means of greedy summaries, and of sampled ones as `…_sampled`."""
    greedy, sampled = (measured[f"{model}_{way}"] for way in WAYS)
    row = {**rouge(table["summary"], table["label"])} | {name: fmean(greedy[name]) for name in OF_A_MODEL}
    row["reward_delta"] = row["reward"] - fmean(measured["reference"]["reward"])
    return row | {f"{name}_sampled": fmean(sampled[name]) for name in OF_A_MODEL}


def baselines() -> dict[str, dict[str, float]]:
    """ROUGE against the test labels of what needs no model: the post's first sentence, and its title."""
    rows = load_rows(DATA / "openai_summarize_tldr", "test", ["prompt", "label"])
    bodies = [prompt.split("TITLE: ", 1)[1] for prompt in rows["prompt"]]
    titles = [body.split("\nPOST: ", 1)[0] for body in bodies]
    leads = [body.split("\nPOST: ", 1)[1].split(". ", 1)[0] for body in bodies]
    return {"lead": rouge(leads, rows["label"]), "title": rouge(titles, rows["label"])}


def draw_curves(metrics: list[dict[str, float]], gold: dict[int, float], path: Path) -> None:
    """Reward, gold score, KL and length of PPO's samples against the training batch, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rounds = [line for line in metrics if "rollout_scores/mean" in line]
    steps = [line["step"] for line in rounds]
    panels = {
        "reward − reward of the label": (steps, [line["rollout_scores/mean"] for line in rounds]),
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
    given = {
        f"{model}_{way}": read_csv(run / f"inference/{model}_{way}.csv") for model in ("sft", "ppo") for way in WAYS
    }
    measured = {name: measure_model(table) for name, table in given.items()}
    first = given["sft_greedy"]
    measured["reference"] = measure(first["prompt"], first["label"])
    measured["reference"]["reward"] = [float(x) for x in first["label_reward"]]
    rm = read_json(run / "reward_test/reward_test.json")
    kept = ("accuracy", "accuracy_se", "accuracy_low", "accuracy_high", "pairs")
    gold = gold_of_evaluations(run / "ppo/samples.jsonl")
    return {
        "rm": {
            **{name: rm[name] for name in kept},
            "ceiling": read_json(DATA / "ceiling.json")["test"],
            "told_apart": told_apart(run / "reward_test/reading_probes.jsonl"),
        },
        "sft": figures(given["sft_greedy"], measured, "sft"),
        "ppo": figures(given["ppo_greedy"], measured, "ppo"),
        "reference": {name: fmean(values) for name, values in measured["reference"].items()},
        "kl": {way: dict(zip(("mean", "se"), mean_and_se(measured[f"ppo_{way}"]["kl"]), strict=True)) for way in WAYS},
        "ppo_minus_sft": {
            f"{name}_{way}": paired_bootstrap(measured[f"ppo_{way}"][name], measured[f"sft_{way}"][name])
            for name in OF_A_MODEL
            for way in WAYS
        },
        "baselines": baselines(),
        "gold_by_step": {step: fmean(scores) for step, scores in gold.items()},
        "gold_end_less_best": end_less_best(gold),
        "seconds": {stage: int((run / "seconds" / stage).read_text(encoding="utf-8")) for stage in STAGES},
        "seed": seed,
        "machine": versions.machine(),
        "commit": versions.commit(),
        "versions": versions.versions(),
        "posts": {
            name: {column: [round(x, 4) for x in values] for column, values in columns.items()}
            for name, columns in measured.items()
        },
    }


def tables(summary: dict) -> str:
    """Both tables of the README, what PPO changes, and what they rest on."""
    lines = [
        "\nGreedy summaries, test: ROUGE, reward, Δ = less the labels', and the gold score that no model sees\n"
        f"{format_table(models([summary]))}",
        f"\nWhat PPO changes, with 95 % intervals over posts\n{format_table(changes([summary]))}\n",
        inventions([summary]),
    ]
    for name in ("reward", "gold"):
        for way, word in WAYS.items():
            gain = summary["ppo_minus_sft"][f"{name}_{way}"]
            interval = f"95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}"
            lines.append(f"PPO − SFT, {name}, {word}: {gain['mean']:+.3f}, {interval}")
    rm = summary["rm"]
    lines.append(f"Reward model: accuracy {rm_accuracy(rm)} on held-out pairs, at best {rm['ceiling']:.3f}")
    lines.append(f"What it can only know from the post\n{format_table(reading([summary]))}\n")
    end = summary["gold_end_less_best"]
    interval = f"95 % interval {end['low']:+.3f} to {end['high']:+.3f}"
    lines.append(f"PPO's gold at its last evaluation less that at its best: {end['mean']:+.3f}, {interval}")
    kl = ", ".join(f"{value['mean']:.2f} ± {value['se']:.2f} ({WAYS[way]})" for way, value in summary["kl"].items())
    lines.append(f"KL of PPO to SFT along its summaries, nats: {kl}")
    lines.append("Time: " + ", ".join(f"{stage} {time} s" for stage, time in summary["seconds"].items()))
    return "\n".join(lines)


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder with sft, rm, ppo, reward_test, inference and seconds")
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    summary = collect(args.run, args.seed)
    (args.run / "summary.json").write_text(as_json(summary), encoding="utf-8")
    metrics = read_metrics(args.run / "ppo/metrics.jsonl")
    draw_curves(metrics, summary["gold_by_step"], args.run / "ppo_curves.png")
    shown = [
        "summary.json",
        "ppo_curves.png",
        *(f"inference/{m}_{w}.csv" for m in ("sft", "ppo") for w in ("greedy", "sample")),
    ]
    for name in [*shown, "inference/rouge.csv", "inference/reward.csv", "ppo/samples.jsonl"]:
        shutil.copy(args.run / name, args.run.parent / Path(name).name)
    write_report([args.run], args.run)
    print(tables(summary))
    print(f"\nwrote {args.run.parent}/: summary.json, ppo_curves.png, samples.jsonl, rouge.csv, reward.csv, summaries")
    print(f"wrote {args.run}/report.html")


if __name__ == "__main__":
    main()
