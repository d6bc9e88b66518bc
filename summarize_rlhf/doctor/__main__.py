"""Which stage is to blame?

    python -m summarize_rlhf.doctor results/quickstart/seed_1
    python -m summarize_rlhf.doctor my_sft/ my_rm/ ckpts/ --json doctor.json

reads what one to three stages of a run have logged, asks their weights a few short questions, and says of each stage
whether it is healthy, suspect or broken: with the figures, the likely cause and what to do next. docs/doctor.md lists
the causes.
"""

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from summarize_rlhf.doctor.evidence import load
from summarize_rlhf.doctor.finding import HEALTHY
from summarize_rlhf.doctor.probes import probe
from summarize_rlhf.doctor.verdict import TITLES, Row, examine, in_a_line
from summarize_rlhf.lm.precision import PRECISIONS
from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import write_file


def diagnose(directories: Sequence[str | Path], probes: bool = True, precision: str = "auto") -> list[Row]:
    """Return a row per finding, and one without a cause for a healthy stage: stage, status, cause, evidence, next.

    `directories` are those of stages, or a folder that holds `sft/`, `rm/` and `ppo/`. Without `probes`, from logs
    alone; these compute in `precision`. Raises `UserError` as `evidence.load`.
    """
    run = load(directories)
    for line in probe(run, precision) if probes else []:
        print(f"note: {line}")
    return examine(run)


def show(rows: Sequence[Row]) -> str:
    """Format the rows for people."""
    lines = []
    for row in rows:
        if row["status"] == HEALTHY:
            lines.append(f"{TITLES[row['stage']]}: healthy ({row['evidence']})")
        else:
            lines.append(f"{TITLES[row['stage']]}: {row['status']}, {row['cause']}")
            for name in ("evidence", "next"):
                lines += textwrap.wrap(f"{name}: {row[name]}", 110, initial_indent="    ", subsequent_indent="      ")
    return "\n".join([*lines, in_a_line(rows)])


@main_guard
def main() -> None:
    tune_process()
    parser = argparse.ArgumentParser(
        prog="python -m summarize_rlhf.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="+", metavar="RUN", help="directories of stages, or the folder that holds them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to this file")
    parser.add_argument("--logs", action="store_true", help="read the logs alone, load no weights")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto",
        help="ask the weights in bf16, fp16 or fp32; auto: language models in fp32, the reward model as PPO does",
    )  # fmt: skip
    args = parser.parse_args()
    rows = diagnose(args.run, probes=not args.logs, precision=args.precision)
    if args.json:
        write_file(args.json, json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    print(show(rows))


if __name__ == "__main__":
    main()
