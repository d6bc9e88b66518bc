"""The figures of the documents, written from the raw files and never by hand.

    python -m benchmarks.report    # rewrites what stands between the markers in README.md and docs/

A marker names a block below: `<!-- figures: stages -->` … `<!-- end -->`.
"""

import re
from collections.abc import Callable

from benchmarks.raw import ROOT, load
from benchmarks.tables import growth, headline, libraries, limit, origin, phases, stages, trl
from summarize_rlhf.report import format_table

RELIABILITY = "docs/results/reliability"
DOCUMENTS = ("README.md", "docs/speed.md", "docs/reliability.md")
MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def chaos() -> str:
    record = load("chaos", RELIABILITY)
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
    record = load("fuzz", RELIABILITY)
    rows = [
        {"what is read": name.replace("_", " "), "read": counts.get("read", 0), "refused": counts.get("refused", 0)}
        for name, counts in record["counts"].items()
    ]
    return (
        f"{format_table(rows)}\n\n{record['inputs']} inputs; each ended in success or in one error of ours. "
        f"{origin('fuzz', folder=RELIABILITY)}"
    )


BLOCKS: dict[str, Callable[[], str]] = {
    block.__name__: block for block in (headline, stages, phases, limit, libraries, trl, growth, chaos, fuzz)
}


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
