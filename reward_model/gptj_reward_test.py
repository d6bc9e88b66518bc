"""The accuracy of a reward model: how often it scores the summary higher that people preferred; and its card.

    cd reward_model/ && python gptj_reward_test.py

tests `reward_model/rm_checkpoint/` (stage 2's directory, or the published `pytorch_model.bin`) on the
comparisons' test split, prints a table and writes `reward_test.json` and, with each pair's scores,
`reward_test.csv`. The card (`card.json`, `card.md`, `card.png`: docs/reward_model_card.md) goes to the reward model's
directory: what it will reward, whether it reads the post, what it can be cheated by. Stage 3 reads it.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

# Before this folder, in which `reward_model` would be the file of that name.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reward_model.accuracy import prefers_chosen, score_figures
from reward_model.card import measure
from reward_model.card_pages import write_card
from reward_model.comparisons import COLUMNS, encode_comparisons, load_comparisons
from reward_model.policy_spread import spread_under_policy
from reward_model.scoring import Scorer
from summarize_rlhf import versions
from summarize_rlhf.data import fingerprint
from summarize_rlhf.intervals import accuracy
from summarize_rlhf.lm.adapters import is_adapter
from summarize_rlhf.lm.precision import PRECISIONS, dtype_for
from summarize_rlhf.lm.speed import tune_process
from summarize_rlhf.lm.weights import check_found, find_model
from summarize_rlhf.locations import REWARD_MODEL_DIR, SFT_MODEL
from summarize_rlhf.report import as_csv, format_table
from summarize_rlhf.run.arguments import knob, parse_arguments
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import check_results_dir, write_files
from summarize_rlhf.text import bare_body

HERE = Path(__file__).resolve().parent


@dataclass
class TestArguments:
    reward_model: str = knob(str(REWARD_MODEL_DIR), "stage 2's directory, or the published file")
    model: str | None = knob(
        None, "for a published file only: the SFT model with its config and tokenizer ; None: as in stage 2"
    )
    dataset: str = knob("CarperAI/openai_summarize_comparisons", "directory, file or Hub id")
    split: str = knob("test", "split of the data set")
    max_rows: int | None = knob(5000, "number of first rows of the split to use; None: all", least=1)
    max_length: int | None = knob(None, "tokens per text; None: as in training", least=1)
    batch_tokens: int = knob(16384, "tokens per forward pass, padding included; changes no score", least=1)
    precision: str = knob(
        "auto", "run in bf16, fp16 or fp32; auto: fp16 (published) on a GPU, fp32 on a CPU", choices=PRECISIONS
    )
    output_dir: str = knob(
        str(HERE.parent / "results" / "reward_test"), "where reward_test.json and reward_test.csv go"
    )
    card_dir: str | None = knob(None, "where the card goes; None: the reward model's directory")
    ceiling: float | None = knob(None, "highest accuracy that the labels allow, for the card", least=0, most=1)
    policy: str | None = knob(None, "a policy whose samples the card tells apart; directory or Hub id")
    policy_posts: int = knob(50, "number of first posts that the policy summarises", least=1)
    policy_samples: int = knob(4, "samples of each post", least=2)
    policy_tokens: int = knob(50, "most tokens of a sample, EOS included", least=1)


def summary_of(chosen: torch.Tensor, rejected: torch.Tensor, posts: Sequence[str]) -> dict[str, float | int]:
    """Return accuracy with standard error and interval, mean scores, margin and counts of pairs with scores (N,).

    `posts` (N) are what the pairs are about: pairs on one post are not independent.
    """
    return {
        **accuracy(prefers_chosen(chosen, rejected).tolist(), posts),
        **score_figures(chosen, rejected),
        "pairs": len(chosen),
        "posts": len(set(posts)),
    }


def card_directory(args: TestArguments) -> Path:
    """Return where the card goes: beside the weights, else (a file, or no permission) beside the results."""
    wanted = Path(args.card_dir or args.reward_model)
    if args.card_dir or (wanted.is_dir() and os.access(wanted, os.W_OK)):
        return wanted
    return Path(args.output_dir)


@main_guard
def main() -> None:
    tune_process()
    args = parse_arguments(TestArguments, about=__doc__)
    versions.check_versions()
    check_results_dir(args.output_dir)
    if args.card_dir:
        check_results_dir(args.card_dir, "--card_dir")
    source = args.model or find_model(*SFT_MODEL)
    if not (Path(args.reward_model) / "config.json").is_file() and not is_adapter(args.reward_model):
        check_found(source, *SFT_MODEL)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    published = "fp16" if device == "cuda" else "auto"
    dtype = dtype_for(device, published if args.precision == "auto" else args.precision)
    scorer = Scorer.from_pretrained(
        args.reward_model,
        model=source,
        device=device,
        dtype=dtype,
        max_length=args.max_length,
        batch_tokens=args.batch_tokens,
    )
    rows, dropped = load_comparisons(args.dataset, args.split, args.max_rows, optional=["split"])
    splits = [args.split] * len(rows)
    if "split" in rows.column_names:
        splits, rows = rows["split"][:], rows.remove_columns("split")
    print(f"{args.split}: {len(rows)} pairs; left out: {dropped}")
    pairs = encode_comparisons(rows, scorer.tokenizer, scorer.max_length)
    scores = scorer.score_ids([*pairs["chosen_ids"], *pairs["rejected_ids"]], progress="score")
    chosen, rejected = scores.split(len(rows))

    result = summary_of(chosen, rejected, rows["prompt"])
    scored = [
        {**{column: row[column] for column in COLUMNS}, "chosen_score": a, "rejected_score": b}
        for row, a, b in zip(rows, chosen.tolist(), rejected.tolist(), strict=True)
    ]
    record = {**result, "dropped": dropped._asdict(), "data": fingerprint(rows), "arguments": asdict(args)}
    record |= {"commit": versions.commit(), "versions": versions.versions()}
    files = {"reward_test.csv": as_csv(scored), "reward_test.json": json.dumps(record, indent=2) + "\n"}
    write_files(args.output_dir, files)
    print(format_table([{name: result[name] for name in ("chosen", "rejected", "margin", "pairs", "posts")}]))
    print(
        f"accuracy {result['accuracy']:.3f} ± {result['accuracy_se']:.3f} (n = {result['pairs']}), "
        f"95 % interval {result['accuracy_low']:.3f} to {result['accuracy_high']:.3f}"
    )
    print(f"wrote {args.output_dir}/reward_test.json and .csv")

    spread = None
    if args.policy is not None:
        bodies = list(dict.fromkeys(bare_body(prompt) for prompt in rows["prompt"]))[: args.policy_posts]
        spread = spread_under_policy(
            scorer,
            args.policy,
            bodies,
            samples=args.policy_samples,
            max_new_tokens=args.policy_tokens,
        )
    card = measure(scorer, list(rows), chosen, rejected, splits, args.ceiling, spread, progress="card")
    directory = card_directory(args)
    card = write_card(directory, card | {"data": record["data"]}, Path(args.reward_model))
    print(card["paragraph"])
    print(f"wrote {directory}/card.json, card.md and card.png")


if __name__ == "__main__":
    main()
