"""Compare the evaluation of one model with the published way, in posts per second.

    python benchmarks/bench_evaluation.py [--quick] [--threads 1 2]

The published script writes summaries one post at a time and scores each of them and each human summary alone, padded to
550 tokens and twice, as its reward model takes pairs; it runs a second time with torch's fused attention. Ours writes
and scores in batches, and also measures what the published script does not: intervals, win rates and verdicts. Both
have the same model and posts, 50 new tokens, greedy, and ROUGE of all summaries. Models are read before the clock.
"""

import json
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor

from benchmarks import measure, published, workload
from benchmarks.raw import FUSED, OURS, PUBLISHED
from reward_model.kept_rewards import kept_rewards
from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from summarize_rlhf.lm.published_tables import published_tables
from summarize_rlhf.lm.summariser import Summariser
from summarize_rlhf.lm.test_set import compute
from summarize_rlhf.lm.test_set_figures import columns_by_way, way_record
from summarize_rlhf.rouge import rouge
from summarize_rlhf.run.kept_rows import KeptRows
from summarize_rlhf.tokenizer import load_tokenizer

NEW = 50  # tokens of a summary
REWARD_MODEL = "rm"


def ours(folder: Path, rows: Dataset) -> dict[str, float]:
    """Evaluate as `trlx_inference_gptj.py` does."""
    model = Summariser(
        "sft", str(folder), torch.device("cpu"), max_length=published.WIDTH, max_new_tokens=NEW, temperature=1.0,
        seed=0, batch_size=32,
    )  # fmt: skip
    reader = load_tokenizer(folder)
    scorer = Scorer(RewardModel.from_pretrained(folder / REWARD_MODEL), reader, published.WIDTH)
    assert model.model is not None  # read before the clock starts
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        kept = KeptRows(directory + "/kept")
        rewards_of = partial(kept_rewards, lambda: scorer, kept, "benchmark")
        results = compute([model], rows, rewards_of, ["greedy"], 1, False, kept)
        _, tables = published_tables(results, ["sft"], "test")
        record = way_record(columns_by_way(results, [model], ["greedy"])["greedy"], [model])
        json.dumps([tables, record])
    return {"posts_per_s": len(rows) / (time.perf_counter() - start)}


@torch.no_grad()
def published_way(folder: Path, rows: Dataset, attention: str) -> dict[str, float]:
    tokenizer, model = load_tokenizer(folder), published.load_model(folder, attention).eval()
    scorer = published.GPTRewardModel(folder, tokenizer.pad_token_id, attention).eval()
    start = time.perf_counter()
    summaries, rewards, label_rewards = [], [], []
    for row in rows:
        text = tokenizer(row["prompt"], truncation=True, max_length=published.WIDTH - NEW, return_tensors="pt")
        made = model.generate(
            text.input_ids, attention_mask=text.attention_mask, max_new_tokens=NEW, do_sample=False,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        summaries.append(tokenizer.decode(made[0, text.input_ids.shape[1] :], skip_special_tokens=True).strip())
    for row, summary in zip(rows, summaries, strict=True):
        rewards.append(score(scorer, tokenizer, f"{row['prompt']} {summary}"))
        label_rewards.append(score(scorer, tokenizer, f"{row['prompt']} {row['label']}"))
    rouge(summaries, rows["label"])
    difference = (torch.cat(rewards) - torch.cat(label_rewards)).mean().item()
    return {"posts_per_s": len(rows) / (time.perf_counter() - start), "difference": difference}


def score(scorer: published.GPTRewardModel, tokenizer, text: str) -> Tensor:
    """Score one text, given twice as a pair (1)."""
    ids, mask = (part.repeat(2, 1) for part in published.padded(tokenizer, published.rm_text(text)))
    return scorer(ids, mask)["chosen_end_scores"]


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--rows", type=int, help="posts of each run")
    args = parser.parse_args()
    rows = args.rows or (6 if args.quick else 64)

    def work(folder: Path, side: str) -> dict[str, float]:
        if side == OURS:
            return ours(folder, workload.read(folder))
        return published_way(folder, workload.read(folder), published.ATTENTION[side])

    def prepare(folder: Path) -> dict[str, str]:
        kind, found = workload.texts(rows)
        workload.make(folder, found, args.family, **({"layers": 2} if args.quick else {}))
        (folder / REWARD_MODEL).mkdir()
        RewardModel.from_causal_lm(folder).save(folder / REWARD_MODEL)
        return {"texts": kind, "posts": rows, "new tokens": NEW}

    measure.compare("evaluation", args, prepare, work, "posts_per_s", (OURS, PUBLISHED, FUSED))


if __name__ == "__main__":
    main()
