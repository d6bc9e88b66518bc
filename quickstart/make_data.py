"""Write the embedded data set, byte for byte the same for the same seed.

    python -m quickstart.make_data [--out quickstart/data] [--seed 0]

Writes two directories in the published schemas; `reading_probes.jsonl`: the test comparisons, each under another post,
and summaries of further posts with one fact right (chosen) and wrong (rejected), by kind; and `ceiling.json`: how often
the gold order agrees with the noisy labels, which bounds the expected accuracy of a reward model. No choice was made on
a test split.
"""

import argparse
import json
import random
from pathlib import Path

from quickstart.comparisons import KINDS, minimal_pair, write_pair
from quickstart.posts import Post, draw_facts, write_label, write_post

VERSION = 2  # of the generator: 2 makes posts that have to be read
TLDR_ROWS = {"train": 2400, "valid": 200, "test": 200}
COMPARISON_ROWS = {"train": 6400, "valid": 600, "test": 600}
MINIMAL_PAIRS = 100  # of each kind


def new_post(rng: random.Random, seen: set[str]) -> Post:
    """Write a post that no other row has, and add it to `seen` (bodies)."""
    while True:
        post = write_post(rng, draw_facts(rng))
        if post.body not in seen:
            seen.add(post.body)
            return post


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write one JSON object a line, in UTF-8, with "\\n" line ends on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(text.encode("utf-8"))


def make_data(out: Path, seed: int) -> dict[str, float]:
    """Write all files below `out`; return the ceiling per split."""
    seen: set[str] = set()
    for split, count in TLDR_ROWS.items():
        rng = random.Random(f"{VERSION} {seed} tldr {split}")
        posts = [new_post(rng, seen) for _ in range(count)]
        rows = [{"prompt": post.prompt, "label": write_label(rng, post)} for post in posts]
        write_rows(out / "openai_summarize_tldr" / f"{split}.jsonl", rows)
    ceiling = {}
    for split, count in COMPARISON_ROWS.items():
        rng = random.Random(f"{VERSION} {seed} comparisons {split}")
        pairs = [write_pair(rng, new_post(rng, seen)) for _ in range(count)]
        rows = [pair.row for pair in pairs]
        write_rows(out / "openai_summarize_comparisons" / f"{split}.jsonl", rows)
        ceiling[split] = round(sum(pair.gold_agrees for pair in pairs) / count, 4)
    bodies = [row["prompt"] for row in rows]  # of the test split, the last one written
    probes = [{"kind": "another post"} | row | {"prompt": bodies[at - 1]} for at, row in enumerate(rows)]
    rng = random.Random(f"{VERSION} {seed} minimal pairs")
    probes += [minimal_row(rng, new_post(rng, seen), kind) for kind in KINDS * MINIMAL_PAIRS]
    write_rows(out / "reading_probes.jsonl", probes)
    (out / "ceiling.json").write_bytes((json.dumps(ceiling, indent=2) + "\n").encode())
    return ceiling


def minimal_row(rng: random.Random, post: Post, kind: str) -> dict[str, str]:
    """Write two summaries that differ in the fact `kind` alone: right (chosen) and wrong."""
    right, wrong = minimal_pair(rng, post, kind)
    return {"kind": kind, "prompt": post.body, "chosen": f"TL;DR: {right}", "rejected": f"TL;DR: {wrong}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="directory to write into")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other posts from the same world")
    args = parser.parse_args()
    print(json.dumps({"out": str(args.out), "seed": args.seed, "ceiling": make_data(args.out, args.seed)}))


if __name__ == "__main__":
    main()
