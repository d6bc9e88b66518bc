"""Write the embedded data set, byte for byte the same for the same seed.

    python -m quickstart.make_data [--out quickstart/data] [--seed 0]

Writes two directories in the published schemas, and `ceiling.json`: how often the gold order agrees with the noisy
labels, which bounds the expected accuracy of a reward model.
"""

import argparse
import json
import random
from pathlib import Path

from quickstart.comparisons import write_pair
from quickstart.posts import Post, draw_facts, human_plan, write_post, write_summary

TLDR_ROWS = {"train": 2400, "valid": 200, "test": 200}
COMPARISON_ROWS = {"train": 6400, "test": 300}
CLOSE_SHARE = 0.5  # of the pairs, between two passable summaries


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
        rng = random.Random(f"{seed} tldr {split}")
        rows = []
        for _ in range(count):
            post = new_post(rng, seen)
            label = write_summary(rng, post.facts, human_plan(rng), post.sentences)
            rows.append({"prompt": post.prompt, "label": label})
        write_rows(out / "openai_summarize_tldr" / f"{split}.jsonl", rows)
    ceiling = {}
    for split, count in COMPARISON_ROWS.items():
        rng = random.Random(f"{seed} comparisons {split}")
        pairs = [write_pair(rng, new_post(rng, seen), rng.random() < CLOSE_SHARE) for _ in range(count)]
        write_rows(out / "openai_summarize_comparisons" / f"{split}.jsonl", [pair.row for pair in pairs])
        ceiling[split] = round(sum(pair.gold_agrees for pair in pairs) / count, 4)
    (out / "ceiling.json").write_bytes((json.dumps(ceiling, indent=2) + "\n").encode())
    return ceiling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="directory to write into")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other posts from the same world")
    args = parser.parse_args()
    print(json.dumps({"out": str(args.out), "seed": args.seed, "ceiling": make_data(args.out, args.seed)}))


if __name__ == "__main__":
    main()
