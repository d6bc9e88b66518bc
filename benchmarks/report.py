"""The figures of the documents, written from the raw files and never by hand.

    python -m benchmarks.report    # rewrites what stands between the markers in README.md and docs/

A marker names a block below: `<!-- figures: stages -->` … `<!-- end -->`.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from summarize_rlhf.report import format_table

ROOT = Path(__file__).resolve().parents[1]
RAW, RELIABILITY = "docs/results/benchmarks", "docs/results/reliability"
DOCUMENTS = ("README.md", "docs/speed.md", "docs/reliability.md")
MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
Record = dict[str, Any]


def read(name: str, folder: str = RAW) -> Record:
    return json.loads((ROOT / folder / f"{name}.json").read_text(encoding="utf-8"))


def spread(record: Record, ratio: str = "ratio") -> str:
    """A ratio's median over the repeats, and its range."""
    values = record["ratios"][ratio]
    return f"{record[f'{ratio}_median']:.2f} ({min(values):.2f} to {max(values):.2f})"


def comparison(name: str, what: str, figure: str, unit: str, other: str = "published") -> dict[str, str]:
    record = read(name)
    memory = record["peak_rss_gb"]
    return {
        "": what,
        "ours": f"{_short(record['ours'][figure])} {unit}",
        other: f"{_short(record[other][figure])} {unit}",
        "times faster": spread(record),
        "memory, GB": f"{memory['ours']:.2f} : {memory[other]:.2f}",
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def origin(*names: str, folder: str = RAW) -> str:
    """Commit, machine and versions of raw files, and the files."""
    machines = [read(name, folder)["machine"] for name in names]
    commits = ", ".join(sorted({f"`{machine['commit'][:10]}`" for machine in machines}))
    hardware = "; ".join(sorted({f"{machine['hardware']}, threads: {machine['threads']}" for machine in machines}))
    libraries = {f"torch {m['versions']['torch']}, transformers {m['versions']['transformers']}" for m in machines}
    files = ", ".join(f"[{name}]({folder}/{name}.json)" for name in names)
    return f"Commit {commits}; {hardware}; {'; '.join(sorted(libraries))}. Raw files: {files}."


def stages() -> str:
    rows = [
        comparison("sft", "SFT, real tokens a second", "tokens_per_s", "tok/s"),
        comparison("rm", "reward model, 5 epochs", "pairs_per_s", "pairs/s"),
        comparison("rm_1_epoch", "reward model, 1 epoch", "pairs_per_s", "pairs/s"),
        comparison("ppo", "PPO iteration of 64 rollouts", "iteration", "s"),
    ]
    return f"{format_table(rows)}\n\n{origin('sft', 'rm', 'rm_1_epoch', 'ppo')}"


def phases() -> str:
    record = read("ppo")
    names = ("generate", "reward", "policy + reference", "optimise")
    rows = [
        {
            "phase": name,
            "ours, s": record["ours"][name],
            "published, s": record["published"][name],
            "times faster": spread(record, name),
        }
        for name in names
    ]
    once = f"Scoring the references, once per run: {record['ours']['references']:.2f} s for these 64 rows."
    before = read("ppo_earlier")
    earlier = (
        f"An earlier run, before scoring's batches were made tighter, saw {spread(before)} for the iteration and "
        f"{spread(before, 'reward')} for the reward: most of the difference is the machine's."
    )
    return f"{format_table(rows)}\n\n{once} {earlier} {origin('ppo', 'ppo_earlier')}"


TRL = {
    f"trl_{stage}_{family}{attention}": f"{title}, {shown}{' under eager attention' if attention else ''}"
    for stage, title in (("sft", "SFT"), ("rm", "reward model, 1 epoch"))
    for family, shown, attention in (
        ("gptj", "GPT-J", ""), ("gptj", "GPT-J", "_eager"), ("gpt_neox", "GPT-NeoX", ""), ("llama", "Llama", ""),
    )
}  # fmt: skip


def trl() -> str:
    figures = {"sft": ("tokens_per_s", "tok/s"), "rm": ("pairs_per_s", "pairs/s")}
    rows = [comparison(name, what, *figures[name.split("_")[1]], other="trl") for name, what in TRL.items()]
    return f"{format_table(rows)}\n\n{origin(*TRL)}"


def growth() -> str:
    record = read("growth")
    return "\n\n".join(
        [
            "A training step of stage 1 (forward and backward pass; every row is as long as said):",
            format_table(record["step"]),
            "An iteration of stage 3:",
            format_table(record["iteration"]),
            origin("growth"),
        ]
    )


def chaos() -> str:
    record = read("chaos", RELIABILITY)
    rows = [
        {
            "stage": run["stage"],
            "processes": run["processes"],
            "kills": len(run["kills"]),
            "while saving": sum(kill.startswith("while") for kill in run["kills"]),
            "bit-equal to the undisturbed run": "no" if run["differences"] else "yes",
        }
        for run in record["runs"]
    ]
    total = sum(row["kills"] for row in rows)
    return f"{format_table(rows)}\n\n{total} kills. {origin('chaos', folder=RELIABILITY)}"


def fuzz() -> str:
    record = read("fuzz", RELIABILITY)
    rows = [
        {"what is read": name.replace("_", " "), "read": counts.get("read", 0), "refused": counts.get("refused", 0)}
        for name, counts in record["counts"].items()
    ]
    return (
        f"{format_table(rows)}\n\n{record['inputs']} inputs; each ended in success or in one error of ours. "
        f"{origin('fuzz', folder=RELIABILITY)}"
    )


BLOCKS: dict[str, Callable[[], str]] = {block.__name__: block for block in (stages, phases, trl, growth, chaos, fuzz)}


def filled(document: str) -> str:
    """A document with the figures of the raw files between its markers; links lead from where it lies."""
    text = (ROOT / document).read_text(encoding="utf-8")

    def fill(found: re.Match) -> str:
        block = BLOCKS[found[2]]()
        if document.startswith("docs/"):
            block = block.replace("](docs/", "](")
        return f"{found[1]}{block}\n{found[3]}"

    return MARKED.sub(fill, text)


def main() -> None:
    for document in DOCUMENTS:
        (ROOT / document).write_text(filled(document), encoding="utf-8")


if __name__ == "__main__":
    main()
