"""Read raw files of benchmarks: figures of each run, medians, speed ratios, share of the matrix rate.

A raw file holds `runs`, a flat list: each names its `side` and `threads`, and carries figures. The n-th run of one side
and the n-th of another took turns on the same machine, so their quotient is one ratio. A figure whose name ends in
`_per_s` is a rate; others are seconds.
"""

import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

OURS, PUBLISHED, FUSED = "ours", "published", "published, fused"
ROOT = Path(__file__).resolve().parents[1]
FOLDER = "docs/results/benchmarks"
BUSY = 0.05  # share of the machine that others may take before the figures say so


class Record:
    """A benchmark's raw file, or the contents of one about to be written."""

    def __init__(self, raw: dict[str, Any]):
        self.raw = raw
        self.machine = raw["machine"]
        self.runs = raw["runs"]
        if isinstance(self.runs, dict):  # written before runs named their threads
            threads = self.machine["threads"]
            self.runs = [{"side": s, "threads": threads, **run} for s, runs in raw["runs"].items() for run in runs]

    def has(self, side: str, threads: int, figure: str) -> bool:
        return any(figure in run for run in self._of(side, threads))

    def threads(self) -> list[int]:
        return sorted({run["threads"] for run in self.runs})

    def sides(self) -> list[str]:
        return list(dict.fromkeys(run["side"] for run in self.runs))

    def values(self, side: str, threads: int, figure: str) -> list[float]:
        """Return the figure of each repeat."""
        return [run[figure] for run in self._of(side, threads)]

    def median(self, side: str, threads: int, figure: str) -> float:
        return statistics.median(self.values(side, threads, figure))

    def times_faster(self, other: str, threads: int, figure: str, ours: str = OURS) -> list[float]:
        """Return how many times faster we were than the other side, in each repeat."""
        pairs = zip(self.values(ours, threads, figure), self.values(other, threads, figure), strict=True)
        return [a / b if figure.endswith("_per_s") else b / a for a, b in pairs]

    def gflops(self, threads: int, figure: str) -> list[float]:
        """Return our rate of matrix products, in 10⁹ floating-point operations a second, in each repeat.

        `raw["gflop"]` has the work behind a figure: of one unit of a rate, or of all of the seconds.
        """
        work = self.raw["gflop"][figure]
        values = self.values(OURS, threads, figure)
        return [value * work if figure.endswith("_per_s") else work / value for value in values]

    def shares(self, threads: int, figure: str) -> list[float]:
        """Return `gflops` over the fastest matrix product of the same process."""
        peaks = self.values(OURS, threads, "matrix_gflops")
        return [done / peak for done, peak in zip(self.gflops(threads, figure), peaks, strict=True)]

    def busy(self) -> float | None:
        """Return the largest share of the machine that others took before or during a run; None: not recorded."""
        seen = [run["others"] for run in self.runs if "others" in run]
        seen += [self.machine["busy"]] if "busy" in self.machine else []
        return max(seen, default=None)

    def _of(self, side: str, threads: int) -> list[dict[str, Any]]:
        return [run for run in self.runs if run["side"] == side and run["threads"] == threads]


def exists(name: str) -> bool:
    return path_of(name).is_file()


def load(name: str, folder: str = FOLDER) -> dict[str, Any]:
    return json.loads(path_of(name, folder).read_text(encoding="utf-8"))


def read(name: str) -> Record:
    return Record(load(name))


def path_of(name: str, folder: str = FOLDER) -> Path:
    return ROOT / folder / f"{name}.json"


def same_code(commit: str, root: Path = ROOT) -> bool:
    """Whether the tracked files, except documents, raw files and tests, are those of a commit; False if unknown."""
    paths = ["--", ".", ":(exclude)docs", ":(exclude)*.md", ":(exclude)tests"]
    done = subprocess.run(["git", "-C", str(root), "diff", "--quiet", commit, *paths], capture_output=True)
    return done.returncode == 0


def spread(values: list[float], digits: int = 2) -> str:
    """Format the median and the range."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
