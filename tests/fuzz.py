"""Inputs that nobody thought of: each is read, or refused by an error of ours; never by a traceback of somebody else's.

    python tests/fuzz.py [--examples 800] [--out FILE]

is the long form, which counts; test_fuzz.py runs a few inputs of each kind, the same ones each time.

Random bytes end in the parser; what stands behind it is reached by documents that parse, with another value at some
key, and by what is no file at all (fuzz_documents.py).
"""

import argparse
import collections
import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp(prefix="datasets-"))

# ruff: noqa: E402
import transformers
from fuzz_documents import ALL
from hypothesis import HealthCheck, Phase, given, settings

from summarize_rlhf import UserError

OUTCOMES: collections.Counter[str] = collections.Counter()


def attempt(reader: Callable[[Any, Path], None], given_input: Any) -> None:
    """Read it: success, or our error, or a word of argparse's and exit code 2; all else is raised."""
    told = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            reader(given_input, Path(folder))
            OUTCOMES["read"] += 1
        except UserError:
            OUTCOMES["refused"] += 1
        except SystemExit as end:
            if end.code != 2 or "error: " not in told.getvalue():
                raise
            OUTCOMES["refused"] += 1


def run(name: str, examples: int, **options: Any) -> None:
    strategy, reader = ALL[name]
    transformers.logging.set_verbosity_error()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), **options)
    @given(strategy)
    def check(content: Any) -> None:
        attempt(reader, content)

    check()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=800, help="inputs of each kind")
    parser.add_argument("--only", nargs="+", default=list(ALL), choices=list(ALL))
    parser.add_argument("--out", type=Path, help="write the counts to this JSON file")
    args = parser.parse_args()
    counts, failed = {}, 0
    for name in args.only:
        OUTCOMES.clear()
        try:
            run(name, args.examples, phases=[Phase.explicit, Phase.generate, Phase.shrink])
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failed += 1
            traceback.print_exception(error, limit=-4)
        counts[name] = dict(OUTCOMES)
        print(f"{name:20} {OUTCOMES['read']:6} read {OUTCOMES['refused']:6} refused", flush=True)
    total = sum(sum(count.values()) for count in counts.values())
    print(f"{total} inputs, {failed} of {len(counts)} readers failed")
    if args.out:
        from benchmarks.measure import machine

        content = {"command": " ".join(sys.argv), "machine": machine(), "inputs": total}
        args.out.write_text(json.dumps(content | {"counts": counts}, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
