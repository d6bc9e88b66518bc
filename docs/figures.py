"""Write the figures and tables of README.md and docs/*.md from the raw files in docs/results/.

    python docs/figures.py                                         # rewrite what stands between the markers
    python docs/figures.py --check                                 # change nothing; exit 1 and name what is stale
    python docs/figures.py --take results/quickstart/seed_{1,2,3}  # copy the raw files of these runs first

A marker names a function of `BLOCKS`: `<!-- figures: stages -->` … `<!-- end -->`.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import recipes

from benchmarks.raw import load, read, spread
from benchmarks.scale_tables import efficiency, on_the_wire, two_hosts
from benchmarks.tables import growth, head, libraries, limit, origin, phases, speed, stages, trl
from quickstart import overoptimisation
from quickstart.tables import changes, gains, in_bf16, inventions, models, one_run, reading
from summarize_rlhf import UserError
from summarize_rlhf.plan.table import table
from summarize_rlhf.report import format_table
from summarize_rlhf.run.errors import main_guard

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART, RELIABILITY, EVALUATION, DOCTOR = (
    f"docs/results/{name}" for name in ("quickstart", "reliability", "evaluation", "doctor")
)
DOCUMENTS = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
MARKED = re.compile(r"(<!-- figures: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def quickstart(root: Path = ROOT) -> str:
    """Format means over the seeds, inventions and provenance."""
    runs = read_runs(root)
    sections = [
        f"Test set of the embedded data, greedy summaries, means over {len(runs)} seeds. Δ is the reward less that "
        "of the labels; gold is the generator's own score, which no model sees.",
        format_table(models(runs)),
        inventions(runs),
        provenance(runs),
    ]
    return "\n\n".join(sections)


def quickstart_details(root: Path = ROOT) -> str:
    """Format what PPO changes, with intervals over seeds and posts, and each seed."""
    runs = read_runs(root)
    sections = [
        "What PPO changes beside the reward: the share of the post's five key facts that a summary keeps, the "
        "share of summaries that say something the post does not say, side facts a summary, length, the share of "
        "its runs of four words that stand in the post, and the share that ends by itself. Differences with 95 % "
        "intervals over seeds and posts (Student's t):",
        format_table(changes(runs)),
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
    ]
    return "\n\n".join(sections)


def quickstart_reading(root: Path = ROOT) -> str:
    """Format what the reward models know of the posts, and what a rule without the post reaches."""
    runs, blind = read_runs(root), load("blind_rule", QUICKSTART)
    pairs = runs[0]["rm"]["pairs"]
    return (
        f"{format_table(reading(runs))}\n\nAccuracy on the {pairs} pairs of the test split. The best rule that we "
        f"could find which sees both summaries but not the post (logistic regression on {blind['features']} words, "
        f"pairs of words and lengths) reaches {blind['test_accuracy']:.3f} there; the longer summary wins in "
        f"{blind['longer_wins']:.3f}. `python -m quickstart.blind_rule`; raw file: "
        f"[blind_rule]({QUICKSTART}/blind_rule.json)."
    )


def quickstart_bf16(root: Path = ROOT) -> str:
    """Format the same chain in fp32 and in bf16."""
    others = read_runs(root, "bf16_")
    return (
        f"{format_table(in_bf16(read_runs(root), others))}\n\nPPO less SFT on the same posts, with 95 % intervals over "
        f"posts. `./quickstart.sh --seed {others[0]['seed']} --precision bf16`, commit `{others[0]['commit'][:10]}`; "
        f"{others[0]['machine']}; torch {others[0]['versions']['torch']}. Raw files: [{QUICKSTART}]({QUICKSTART})."
    )


def read_runs(root: Path, before: str = "") -> list[dict]:
    """Read summary.json of each seed; `before` stands before their folders' names."""
    files = sorted((root / QUICKSTART).glob(f"{before}seed_*/summary.json"))
    if not files:
        raise UserError(f"{root / QUICKSTART} has no seed_*/summary.json: run ./quickstart.sh, then --take its folder")
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def provenance(runs: list[dict]) -> str:
    """State script, commit, seeds, hardware and raw files."""
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
        f"Time of seed {runs[0]['seed']}: {seconds}. Raw files: [{QUICKSTART}]({QUICKSTART})."
    )


def chaos() -> str:
    """Format how often runs were killed, and whether they ended as if undisturbed."""
    rows = [
        {
            "stage": run["stage"],
            "processes": run["processes"],
            "kills": len(run["kills"]),
            "while saving": sum(kill.startswith("while") for kill in run["kills"]),
            "bit-equal to the undisturbed run": "no" if run["differences"] else "yes",
        }
        for run in load("chaos", RELIABILITY)["runs"]
    ]
    total = sum(row["kills"] for row in rows)
    return f"{format_table(rows)}\n\n{total} kills. {origin('chaos', folder=RELIABILITY)}"


def fuzz() -> str:
    """Format how many random inputs each reader took, and how many it refused."""
    record = load("fuzz", RELIABILITY)
    rows = [
        {"what is read": name.replace("_", " "), "read": counts.get("read", 0), "refused": counts.get("refused", 0)}
        for name, counts in record["counts"].items()
    ]
    ended = f"{record['inputs']} inputs; each ended in success or in one error of ours."
    return f"{format_table(rows)}\n\n{ended} {origin('fuzz', folder=RELIABILITY)}"


def planted() -> str:
    """Format which planted faults the doctor named, what it said instead, and what it said of healthy runs."""
    record, rows = load("planted", DOCTOR), []
    for run in record["runs"]:
        first = run["blamed"]
        row = {"planted": f"{run['stage']}: {run['fault']}", "to be named": f"{run['stage']} {run['cause']}"}
        row |= {"named": "yes" if run["right"] else "no"}
        row |= {"to be mended first": f"{first['stage']} {first['cause']}" if first else "nothing"}
        row |= {"all that was said": "; ".join(f"{x['stage']} {x['status']}: {x['cause']}" for x in run["found"])}
        rows.append(row | {"steps": run["steps"]})
    right, alarms = sum(run["right"] for run in record["runs"]), sum(bool(run["found"]) for run in record["healthy"])
    told = f"{right} of {len(rows)} faults named; {alarms} of {len(record['healthy'])} healthy runs raised an alarm."
    if not record["probed"]:
        told += " The doctor read the logs alone and asked no weights."
    if len(rows) < record["faults"]:
        told += f" {record['faults'] - len(rows)} more faults of `tests/faults.py` were not planted in this run."
    return f"{format_table(rows)}\n\n{told} {origin('planted', folder=DOCTOR)}"


def families() -> str:
    """Format what each family of transformers' causal language models can do, those that can do the same in a row."""
    found = json.loads((ROOT / "tests/families.json").read_text(encoding="utf-8"))
    alike: dict[tuple, list[str]] = {}
    for name, row in found["families"].items():
        alike.setdefault(tuple(row.items()), []).append(name)
    rows = [
        {"families": ", ".join(names), **dict(row)} for row, names in sorted(alike.items(), key=lambda x: -len(x[1]))
    ]
    return (
        f"{format_table(rows)}\n\n{len(found['families'])} families at tiny sizes with random weights; there is no "
        f"tiny model of {len(found['skipped'])} more, which the raw file names. `{found['command']}`; commit "
        f"`{found['machine']['commit'][:10]}`; transformers {found['machine']['versions']['transformers']}, peft "
        f"{found['peft']}. Raw file: [families](../tests/families.json)."
    )


def coverage() -> str:
    """Format how often intervals of an evaluation hold the truth of made-up worlds."""
    found = load("coverage", EVALUATION)
    rows = [
        {"figure": row["figure"], "posts": row["posts"], "data": row["data"], "held by": f"{row['held']:.1%}"}
        for row in found["rows"]
    ]
    return (
        f"{format_table(rows)}\n\n{found['times']} intervals of each, but the win rates' are exact. "
        f"`python tests/evaluation/made_up_worlds.py`; commit `{found['commit'][:10]}`; scipy "
        f"{found['versions']['scipy']}. Raw file: [coverage]({EVALUATION}/coverage.json)."
    )


def length_control() -> str:
    """Format what a policy that is paid for its length gains by the reward model, beside PPO's own."""
    found, rows = load("length_control", EVALUATION), []
    for name, told in {"ppo": "the reward model's score", "length": "length"}.items():
        gain, models = found[name]["gain"], found[name]["models"]
        row = {"PPO's reward": told}
        for part, column in GAINED.items():
            row[column] = "{value:+.2f} ({low:+.2f} to {high:+.2f})".format(**gain[part])
        row |= {"tokens": f"{models['sft']['tokens']['value']:.1f} → {models[name]['tokens']['value']:.1f}"}
        rows.append(row | {"gold": f"{models['sft']['gold']['value']:.2f} → {models[name]['gold']['value']:.2f}"})
    told = f"Best length: {found['words']} words. Seed 1's test posts, greedy; 95 % intervals over posts."
    return f"{format_table(rows)}\n\n{told} {origin('length_control', folder=EVALUATION)}"


GAINED = {"total": "gain by the reward model", "length": "of it length", "copying": "copying", "rest": "the rest"}


def evaluation_speed() -> str:
    """Format how much faster than the published script an evaluation is."""
    record = read("evaluation")
    threads, posts = record.threads()[0], record.raw["settings"]["posts"]
    published, fused = (
        spread(record.times_faster(side, threads, "posts_per_s"), 1) for side in ("published", "published, fused")
    )
    return (
        f"An evaluation of {posts} posts is {published} times as fast as the published way, {fused} times where that "
        f"has fused attention, too (median and range of {record.raw['repeats']} runs). {origin('evaluation')}"
    )


def scale() -> str:
    """Format what each stage of GPT-J 6B needs on several kinds of GPUs, by the planner."""
    record = load("gpt_j_6b", "docs/results/scale")
    made = f"`{record['command']}`; commit `{record['commit'][:10]}`; " + ", ".join(
        f"{name} {record['versions'][name]}" for name in ("torch", "deepspeed")
    )
    return (
        f"{table(record['plans'])}\n\nPlanned, not measured: no GPU was there. {record['model']}, rows of 550 tokens, "
        "bf16, the optimizer in main memory, as published; GB of 1e9 bytes; fits where main memory has "
        f"{record['host_gb']:.0f} GB. {made}. Raw file: [gpt_j_6b](docs/results/scale/gpt_j_6b.json)."
    )


def peaks() -> str:
    """Format plans beside measured peaks."""
    record = load("peaks", "docs/results/scale")
    rows = [
        {
            "family": run["family"],
            "stage": run["stage"]
            + (", ZeRO-3 on 2 processes" if run["zero_3"] else "")
            + (", LoRA" if run.get("lora") else ""),
            "planned, MB": f"{run['planned'] / 1e6:.0f}",
            "measured, MB": f"{run['measured'] / 1e6:.0f}",
            "planned / measured": f"{run['ratio']:.2f}",
            "with pages of files, MB": f"{(run['most_with_files'] - run['before_with_files']) / 1e6:.0f}",
        }
        for run in record["runs"]
    ]
    near = sum(abs(run["ratio"] - 1) <= 0.1 for run in record["runs"])
    machine = record["machine"]
    commits = " and ".join(dict.fromkeys(f"`{run['commit'][:10]}`" for run in record["runs"]))
    return (
        f"{format_table(rows)}\n\n{near} of {len(rows)} within 10 %. {machine['hardware']}, fp32; "
        f"`{record['command']}`; commit {commits}; torch {machine['versions']['torch']}, deepspeed "
        f"{machine['versions']['deepspeed']}. Raw file: [peaks](docs/results/scale/peaks.json)."
    )


BLOCKS: dict[str, Callable[[], str]] = {
    block.__name__: block
    for block in (
        quickstart,
        quickstart_details,
        quickstart_reading,
        quickstart_bf16,
        speed,
        stages,
        phases,
        limit,
        libraries,
        trl,
        growth,
        head,
        chaos,
        fuzz,
        planted,
        families,
        coverage,
        length_control,
        evaluation_speed,
        scale,
        peaks,
        two_hosts,
        on_the_wire,
        efficiency,
    )
} | {"overoptimisation": overoptimisation.section, "recipes": recipes.recipes}


def fill(document: Path) -> tuple[str, list[str]]:
    """Return a document with fresh figures, and the names of those that were stale.

    Links lead from where the document lies. Raises `UserError` for a marker that names no block.
    """
    stale = []

    def fresh(found: re.Match) -> str:
        begin, name, old, end = found.groups()
        if name not in BLOCKS:
            raise UserError(f"{document} wants figures {name!r}: known are {', '.join(BLOCKS)}")
        new = BLOCKS[name]() + "\n"
        if document.parent.name == "docs":
            new = new.replace("](docs/", "](")
        if new != old:
            stale.append(name)
        return begin + new + end

    return MARKED.sub(fresh, document.read_text(encoding="utf-8")), stale


def take(run: Path) -> None:
    """Copy the raw files of a quickstart run to docs/results/, and its page without the path of the repository."""
    target = ROOT / QUICKSTART / run.name
    target.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json", "ppo_curves.png", "report.html"):
        if not (run / name).is_file():
            raise UserError(f"{run} has no {name}: ./quickstart.sh did not come to its end there")
        shutil.copy(run / name, target / name)
    page = (run / "report.html").read_text(encoding="utf-8").replace(f"{run.resolve().parents[2]}/", "")
    (target / "report.html").write_text(page, encoding="utf-8")


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where figures are stale")
    parser.add_argument("--take", type=Path, nargs="+", default=[], metavar="DIR", help="folders of ./quickstart.sh")
    args = parser.parse_args()
    for run in args.take:
        take(run)
    told = []
    for document in DOCUMENTS:
        text, stale = fill(document)
        told += [f"{document.relative_to(ROOT)}: figures {name} are not those of docs/results" for name in stale]
        if stale and not args.check:
            document.write_text(text, encoding="utf-8")
    if args.check and told:
        sys.exit("\n".join([*told, "run python docs/figures.py"]))


if __name__ == "__main__":
    main()
