"""Test for over-optimisation: does a higher reward still mean better summaries?

    python -m quickstart.overoptimisation 1 2 3

For each seed: the quickstart's own run, and a second PPO run from the same SFT and reward model with a KL coefficient
of 0.001 instead of 0.05 (`./quickstart.sh --seed N --kl 0.001`; finished runs are not repeated). It checks that their
settings differ in nothing else. Writes docs/results/overoptimisation/: a JSON file
for each coefficient and a picture. A reward that rises while gold falls is over-optimisation (Stiennon et al. 2020,
figure 5).
"""

import argparse
import subprocess
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from quickstart.gold import gold_score
from quickstart.measures import shown, trend
from quickstart.summarise_run import as_json, read_json, read_metrics
from summarize_rlhf import UserError
from summarize_rlhf.intervals import Interval, t_interval
from summarize_rlhf.report import format_table
from summarize_rlhf.run.errors import main_guard

ROOT = Path(__file__).resolve().parents[1]
RAW = "docs/results/overoptimisation"
OWN, WEAK = "0.05", "0.001"  # the quickstart's coefficient, and the one to compare with
FREE = ("method.init_kl_coef", "train.checkpoint_dir", "train.seed", "model.model_path", "tokenizer.tokenizer_path")
IDENTITY = "train.trainer_kwargs.identity."
OF_A_SEED = (f"{IDENTITY}reward_model", f"{IDENTITY}task.reward_model")  # each seed trains its own reward model
Record = dict[str, Any]


def read_run(folder: Path) -> Record:
    """Read a run of stage 3: its arguments, and each evaluation's rewards and gold scores by prompt.

    Each evaluation's `kl` is that of the last rollouts before it, in nats a response.
    """
    record = read_json(folder / "best_checkpoint/hf_model/run.json")
    samples: dict[int, list[Record]] = {}
    for row in read_metrics(folder / "samples.jsonl"):
        samples.setdefault(row["step"], []).append(row)
    kl, evaluations = 0.0, []
    for line in read_metrics(folder / "metrics.jsonl"):
        kl = line.get("policy/kl", kl)
        if "reward/mean" in line:
            rows = samples[line["step"]]
            gold = [round(gold_score(row["prompt"], row["output"]), 4) for row in rows]
            rewards = [round(row["reward"], 4) for row in rows]
            evaluations.append({"batch": line["step"], "kl": kl, "reward": rewards, "gold": gold})
    arguments = record["arguments"]
    return {"seed": arguments["train"]["seed"], "evaluations": evaluations, "arguments": arguments} | {
        name: record[name] for name in ("commit", "data")
    }


def flat(arguments: Record, prefix: str = "") -> Record:
    """Flatten {"train": {"seed": 1}} to {"train.seed": 1}."""
    rows: Record = {}
    for name, value in arguments.items():
        rows |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return rows


def check_alike(runs: list[Record]) -> None:
    """Raise UserError where runs differ in more than KL coefficient, seed, paths and the reward model of their seed."""
    first = flat(runs[0]["arguments"])
    for run in runs[1:]:
        other = flat(run["arguments"])
        mate = flat(next(each for each in runs if each["seed"] == run["seed"])["arguments"])
        expected = first | {key: mate[key] for key in OF_A_SEED if key in mate}
        differing = [key for key in expected | other if key not in FREE and expected.get(key) != other.get(key)]
        differing += [key for key in ("commit", "data") if run[key] != runs[0][key]]
        if [e["batch"] for e in run["evaluations"]] != [e["batch"] for e in runs[0]["evaluations"]]:
            differing.append("batches of the evaluations")
        if differing:
            raise UserError(
                f"runs to be compared differ in {', '.join(differing)} (seeds {runs[0]['seed']} and {run['seed']}): "
                f"run those out of date again, ./quickstart.sh --seed N [--kl {WEAK}] --fresh"
            )


def difference(ours: list[Record], at: int, theirs: list[Record], then: int, name: str) -> Interval:
    """Subtract `name` at evaluation `then` of `theirs` from that at `at` of `ours`, by seed on the same prompts."""
    return t_interval(
        [
            [a - b for a, b in zip(x["evaluations"][at][name], y["evaluations"][then][name], strict=True)]
            for x, y in zip(ours, theirs, strict=True)
        ]
    )


def section(root: Path = ROOT) -> str:
    """Write the section of docs/details.md from the raw files; no figure or verdict is written by hand."""
    files = {kl: root / RAW / f"kl_{kl}.json" for kl in (WEAK, OWN)}
    if not all(file.is_file() for file in files.values()):
        return "Not measured yet with this version: `python -m quickstart.overoptimisation 1 2 3` does it."
    given = {kl: read_json(file)["runs"] for kl, file in files.items()}
    own = given[OWN]
    check_alike([*own, *given[WEAK]])
    seeds = ", ".join(str(run["seed"]) for run in own)
    intro = (
        f"Two runs for each of the seeds {seeds}, alike in all but the KL coefficient. At each evaluation "
        f"{len(own[0]['evaluations'][0]['gold'])} sampled summaries of validation posts; means over the seeds; KL is "
        "that of the last rollouts before it."
    )
    picture = "![Reward, gold score and KL under both coefficients](results/overoptimisation/curves.png)"
    return "\n\n".join([intro, format_table(table(given)), findings(given), picture, provenance(own)])


def findings(given: dict[str, list[Record]]) -> str:
    """Say how reward and gold move under each coefficient, with intervals, and whether that is over-optimisation."""
    batches = [evaluation["batch"] for evaluation in given[OWN][0]["evaluations"]]
    half = len(batches) // 2
    lines = ["Differences with 95 % intervals over seeds and posts (Student's t):", ""]
    moves = {}
    for kl, runs in given.items():
        for since in (0, half):
            moves[kl, since] = {name: difference(runs, -1, runs, since, name) for name in ("reward", "gold")}
            told = ", ".join(f"{name} {_says(gain)}" for name, gain in moves[kl, since].items())
            lines.append(f"- with {kl}, from batch {batches[since]} to {batches[-1]}: {told}")
    apart = {name: shown(difference(given[WEAK], -1, given[OWN], -1, name)) for name in ("reward", "gold")}
    lines.append(f"- {WEAK} less {OWN} at batch {batches[-1]}: reward {apart['reward']}, gold {apart['gold']}")
    seen = [
        kl for kl in given if trend(moves[kl, half]["reward"]) == "rise" and trend(moves[kl, half]["gold"]) == "fall"
    ]
    verdict = (
        f"So with {' and '.join(seen)} the reward goes on rising while the gold score falls: over-optimisation."
        if seen
        else f"So neither shows, beyond the noise, a reward that rises after batch {batches[half]} while gold falls."
    )
    return "\n".join([*lines, "", verdict])


def _says(gain: Interval) -> str:
    word = {"rise": "rises", "fall": "falls"}.get(trend(gain), "does not change beyond the noise")
    return f"{word}, {shown(gain)}"


def table(given: dict[str, list[Record]]) -> list[Record]:
    """Make one row per evaluation: means over seeds and prompts under both coefficients."""
    rows = []
    for number, evaluation in enumerate(given[OWN][0]["evaluations"]):
        row: Record = {"batch": evaluation["batch"]}
        for kl, runs in given.items():
            seeds = [run["evaluations"][number] for run in runs]
            row |= {f"{name}, {kl}": fmean(fmean(one[name]) for one in seeds) for name in ("reward", "gold")}
            row[f"KL, {kl}"] = fmean(one["kl"] for one in seeds)
        rows.append(row)
    return rows


def provenance(runs: list[Record]) -> str:
    return (
        f"`python -m quickstart.overoptimisation {' '.join(str(run['seed']) for run in runs)}` at commit "
        f"`{runs[0]['commit'][:10]}`. Raw files, with each run's arguments: `{RAW}/`."
    )


def draw(given: dict[str, list[Record]], path: Path) -> None:
    """Plot reward, gold score and KL against the training batch: the mean over seeds, with a band of one s.d."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    titles = {"reward": "reward − reward of the label", "gold": "gold score", "kl": "KL to the SFT model, nats"}
    figure, axes = pyplot.subplots(1, len(titles), figsize=(12, 3.4), layout="constrained")
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for (kl, runs), color in zip(given.items(), ("#b5442e", "#2a6f97"), strict=True):
            batches = [evaluation["batch"] for evaluation in runs[0]["evaluations"]]
            seeds = [[fmean(_list(one[name])) for one in run["evaluations"]] for run in runs]
            means = [fmean(column) for column in zip(*seeds, strict=True)]
            spread = [stdev(column) if len(column) > 1 else 0.0 for column in zip(*seeds, strict=True)]
            low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
            axis.plot(batches, means, color=color, marker=".", label=f"init_kl_coef {kl}")
            axis.fill_between(batches, low, high, color=color, alpha=0.2, linewidth=0)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("training batch")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _list(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def train(seed: int) -> None:
    """Run the missing ones of a seed's two runs; each resumes where it was interrupted."""
    own = ROOT / f"results/quickstart/seed_{seed}/summary.json"
    if not own.is_file():
        subprocess.run([ROOT / "quickstart.sh", "--seed", str(seed)], check=True)
    subprocess.run([ROOT / "quickstart.sh", "--seed", str(seed), "--kl", WEAK], check=True)


def write(folders: list[Path], out: Path) -> None:
    """Write raw files and picture of the runs in `folders`, one per seed, each with ppo and ppo_kl_0.001."""
    given = {
        kl: [read_run(folder / name) for folder in folders] for kl, name in ((WEAK, f"ppo_kl_{WEAK}"), (OWN, "ppo"))
    }
    check_alike([*given[OWN], *given[WEAK]])
    out.mkdir(parents=True, exist_ok=True)
    for kl, runs in given.items():
        text = as_json({"runs": runs}).replace(f"{ROOT}/", "")  # no paths of this machine
        (out / f"kl_{kl}.json").write_text(text, encoding="utf-8")
    draw(given, out / "curves.png")


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="+", help="seeds of ./quickstart.sh")
    seeds = parser.parse_args().seeds
    try:
        for seed in seeds:
            train(seed)
    except subprocess.CalledProcessError as error:
        raise UserError(f"{' '.join(map(str, error.cmd))} ended with exit code {error.returncode}") from error
    write([ROOT / f"results/quickstart/seed_{seed}" for seed in seeds], ROOT / RAW)
    print(section())


if __name__ == "__main__":
    main()
