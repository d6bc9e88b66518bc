"""The quickstart's figures in the documents, written from the raw files and never by hand.

python -m quickstart.readme                                  # rewrites what stands between the markers
python -m quickstart.readme --check                          # only says whether it is that of the raw files
python -m quickstart.readme results/quickstart/seed_{1,2,3}  # takes the raw files from these runs first
"""

import argparse
import json
import shutil
from pathlib import Path

from quickstart import overoptimisation
from quickstart.tables import changes, gains, inventions, models, one_run
from summarize_rlhf import UserError
from summarize_rlhf.report import format_table
from summarize_rlhf.run.errors import main_guard

ROOT = Path(__file__).resolve().parents[1]
RAW = "docs/results/quickstart"
BEGIN, END = "<!-- results:begin (python -m quickstart.readme) -->", "<!-- results:end -->"


def read_runs(root: Path) -> list[dict]:
    """Read the summary of each seed."""
    files = sorted((root / RAW).glob("seed_*/summary.json"))
    if not files:
        raise UserError(f"{root / RAW} has no seed_*/summary.json: run ./quickstart.sh and copy its summary there")
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def means(runs: list[dict]) -> list[str]:
    """Explain and format the table of the models."""
    return [
        f"Test set of the embedded data, greedy summaries, means over {len(runs)} seeds. Δ is the reward less that "
        "of the labels; gold is the generator's own score, which no model sees.",
        format_table(models(runs)),
    ]


def headline(root: Path = ROOT) -> str:
    """Format the README's section: means over the seeds, inventions, provenance."""
    runs = read_runs(root)
    return "\n\n".join([*means(runs), inventions(runs), provenance(runs)])


def results(root: Path = ROOT) -> str:
    """Format docs/quickstart.md: means over the seeds, each seed's own figures, and where they come from."""
    runs = read_runs(root)
    sections = [
        *means(runs),
        "What PPO changes beside the reward: the share of the post's five key facts that a summary keeps, the "
        "share of summaries with a value that the post does not have, side facts a summary, length, the share of "
        "its runs of four words that stand in the post, and the share that ends by itself. Differences with 95 % "
        "intervals over seeds and posts (Student's t):",
        format_table(changes(runs)),
        inventions(runs),
    ]
    if len(runs) > 1:
        sections += [
            f"PPO less SFT over {len(runs)} seeds and {len(runs[0]['posts']['reference']['gold'])} posts together. "
            "The bootstrap draws seeds and posts anew, but can draw nothing beyond the most extreme seed; Student's t "
            "allows for that. All seeds share data and starting model, so this is the spread of training, not of data "
            "sets:",
            format_table(gains(runs)),
        ]
    sections += [
        "Each seed, PPO less SFT on the same posts, with 95 % intervals over posts alone; ± is a standard error:",
        format_table([one_run(run) for run in runs]),
        provenance(runs),
    ]
    return "\n\n".join(sections)


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
        f"{runs[0]['rm']['ceiling']:.3f}. KL is that of PPO to SFT along PPO's "
        "summaries of the test posts, in nats a summary. "
        f"Time of seed {runs[0]['seed']}: {seconds}. Raw files: [{RAW}]({RAW})."
    )


DOCUMENTS = {"README.md": headline, "docs/quickstart.md": results, "docs/details.md": overoptimisation.section}


def filled(document: str, root: Path = ROOT) -> str:
    """A document with what the raw files say between its markers."""
    head, rest = (root / document).read_text(encoding="utf-8").split(BEGIN)
    text = DOCUMENTS[document](root)
    if document.startswith("docs/"):
        text = text.replace("](docs/", "](")
    return f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def take(run: Path) -> None:
    """Copy a run's raw files to the documents' folder."""
    target = ROOT / RAW / run.name
    target.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json", "ppo_curves.png"):
        if not (run / name).is_file():
            raise UserError(f"{run} has no {name}: ./quickstart.sh did not come to its end there")
        shutil.copy(run / name, target / name)


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", help="folders of ./quickstart.sh to take the raw files from")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a document differs")
    args = parser.parse_args()
    for run in args.runs:
        take(run)
    for document in DOCUMENTS:
        fresh = filled(document)
        if args.check and fresh != (ROOT / document).read_text(encoding="utf-8"):
            raise UserError(f"{document} does not show what its raw files say: run python -m quickstart.readme")
        (ROOT / document).write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
