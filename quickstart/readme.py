"""The README's results, written from the raw files and never by hand.

python -m quickstart.readme           # rewrites the tables between the markers
python -m quickstart.readme --check   # only says whether they are those of the raw files
"""

import argparse
import json
from pathlib import Path
from statistics import mean

from summarize_rlhf.errors import UserError, main_guard
from summarize_rlhf.report import format_table

ROOT = Path(__file__).resolve().parents[1]
RAW = "docs/results/quickstart"
BEGIN, END = "<!-- results:begin (python -m quickstart.readme) -->", "<!-- results:end -->"


def results(root: Path = ROOT) -> str:
    """The section between the markers: means over the seeds, each seed's own figures, and where they come from."""
    files = sorted((root / RAW).glob("seed_*/summary.json"))
    if not files:
        raise UserError(f"{root / RAW} has no seed_*/summary.json: run ./quickstart.sh and copy its summary there")
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return "\n\n".join(
        [
            f"Test set of the embedded data, greedy summaries, means over {len(runs)} seeds. Δ is the reward less that "
            "of the references; gold is the generator's own score, which no model sees.",
            format_table(models(runs)),
            "Each seed, PPO less SFT on the same posts, with 95 % intervals of a paired bootstrap:",
            format_table([one_run(run) for run in runs]),
            provenance(runs),
        ]
    )


def models(runs: list[dict]) -> list[dict[str, object]]:
    """One row per model and baseline."""
    rows = []
    for name, key in (("SFT", "sft"), ("PPO", "ppo")):
        row = {column: mean(run[key][column] for run in runs) for column in runs[0][key]}
        rows.append(
            {
                **_rouge(name, row),
                "reward": row["reward"],
                "Δ": row["reward_delta"],
                "gold": row["gold"],
                "gold, sampled": row["gold_sampled"],
            }
        )
    blank = {name: "" for name in ("reward", "Δ", "gold", "gold, sampled")}
    rows += [{**_rouge(f"{name} baseline", runs[0]["baselines"][name]), **blank} for name in ("lead", "title")]
    return rows


def _rouge(name: str, row: dict[str, float]) -> dict[str, object]:
    keys = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "average": "rougeAvg"}
    return {"": name} | {head: row[key] for head, key in keys.items()}


def one_run(run: dict) -> dict[str, object]:
    gain = run["ppo_minus_sft"]
    return {
        "seed": run["seed"],
        "RM accuracy": run["rm"]["accuracy"],
        "reward": _interval(gain["reward_greedy"]),
        "gold": _interval(gain["gold_greedy"]),
        "reward, sampled": _interval(gain["reward_sample"]),
        "gold, sampled": _interval(gain["gold_sample"]),
        "KL": run["ppo"]["kl"],
    }


def _interval(gain: dict[str, float]) -> str:
    return f"{gain['mean']:+.2f} ({gain['low']:+.2f} to {gain['high']:+.2f})"


def provenance(runs: list[dict]) -> str:
    """Script, commit, seeds, hardware, raw files."""
    seeds = ", ".join(str(run["seed"]) for run in runs)
    commits = ", ".join(sorted({f"`{run['commit'][:10]}`" for run in runs}))
    machines = "; ".join(sorted({run["machine"] for run in runs}))
    torch = ", ".join(sorted({run["versions"]["torch"] for run in runs}))
    seconds = ", ".join(f"{stage} {time} s" for stage, time in runs[0]["seconds"].items())
    return (
        f"`./quickstart.sh --seed N` for N = {seeds} at commit {commits}; {machines}; torch {torch}. The reward "
        "model's ceiling, the share of held-out labels that the gold score itself agrees with, is "
        f"{runs[0]['rm']['ceiling']:.3f}. KL is in nats an episode, of the last rollouts. "
        f"Seed {runs[0]['seed']} had the machine to itself: {seconds}. Raw files: [{RAW}]({RAW})."
    )


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the README differs")
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    fresh = f"{head}{BEGIN}\n{results()}\n{END}{rest.split(END)[1]}"
    if check and fresh != text:
        raise UserError(f"{readme} does not show the figures of {RAW}: run python -m quickstart.readme")
    readme.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
