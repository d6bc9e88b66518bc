"""How far does one get without reading the post? A rule that sees the two summaries alone, fitted as well as we can.

    python -m quickstart.blind_rule [--data quickstart/data] [--json FILE]

Logistic regression on what the chosen summary has more of than the rejected one: words, pairs of neighbouring words,
and length. Fitted on the training comparisons, its penalty chosen on the validation split, tested on the test
split. What it reaches above one half is what a reward model can score without the post.
"""

import argparse
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import torch

from quickstart.make_data import VERSION
from summarize_rlhf.data import load_rows

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3)
MIN_COUNT = 5  # of the training pairs have the word or pair of words
STEPS = 200


def features(summary: str) -> Counter[str]:
    """Count words, pairs of words and length (in tens of words)."""
    words = summary.lower().removeprefix("tl;dr: ").replace(",", " ,").replace(".", " .").replace("?", " ?").split()
    counts = Counter(words) + Counter(map(" ".join, pairwise(words)))
    return counts + Counter({"<words>": len(words), "<square>": len(words) ** 2 // 10, "<facts>": summary.count("$")})


def differences(rows: dict[str, list[str]], names: dict[str, int]) -> torch.Tensor:
    """Count features of the chosen less the rejected summary: (N, len(names)), unit scale for lengths."""
    table = torch.zeros(len(rows["chosen"]), len(names))
    for row, (chosen, rejected) in enumerate(zip(rows["chosen"], rows["rejected"], strict=True)):
        for sign, text in ((1, chosen), (-1, rejected)):
            for name, count in features(text).items():
                if name in names:
                    table[row, names[name]] += sign * count / (10 if name[0] == "<" else 1)
    return table


def fit(x: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return the weights (F,) that minimise mean log(1 + exp(-x·w)) + penalty·|w|²/2 over rows x (N, F)."""
    weights = torch.zeros(x.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.softplus(-x @ weights).mean() + penalty / 2 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def accuracy(x: torch.Tensor, weights: torch.Tensor) -> float:
    """Share of pairs whose chosen summary the weights prefer; ties count one half."""
    margins = x @ weights
    return ((margins > 0).float() + 0.5 * (margins == 0).float()).mean().item()


def blind_rule(data: Path) -> dict[str, float]:
    """Fit, choose and test the rule; return accuracies by split, the longer summary's share of wins among them."""
    splits = {
        split: load_rows(data / "openai_summarize_comparisons", split, ["chosen", "rejected"])
        for split in ("train", "valid", "test")
    }
    met = Counter(name for side in ("chosen", "rejected") for text in splits["train"][side] for name in features(text))
    names = {name: at for at, name in enumerate(sorted(name for name, count in met.items() if count >= MIN_COUNT))}
    x = {split: differences(rows, names) for split, rows in splits.items()}
    fits = {penalty: fit(x["train"], penalty) for penalty in PENALTIES}
    penalty = max(PENALTIES, key=lambda penalty: accuracy(x["valid"], fits[penalty]))
    longer = torch.zeros(len(names))
    longer[names["<words>"]] = 1.0
    return {
        "generator": VERSION,
        "features": len(names),
        "penalty": penalty,
        **{f"{split}_accuracy": round(accuracy(table, fits[penalty]), 4) for split, table in x.items()},
        "longer_wins": round(accuracy(x["test"], longer), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "data", help="directory of make_data")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    text = json.dumps(blind_rule(args.data), indent=2) + "\n"
    if args.json:
        args.json.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
