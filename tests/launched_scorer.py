"""Two processes that hold shares of one reward model: reward_model/test_placement.py starts it."""

import json
import sys
from pathlib import Path

import torch

from reward_model.placement import ShardedScorer
from reward_model.scoring import Scorer
from summarize_rlhf import UserError
from summarize_rlhf.run.errors import main_guard
from trlx.trainer.setup import join_processes

POSTS = ["POST: my cat moved", "POST: so", "POST: the boss lost the money and the cat", "POST: a", "POST: my boss"]
TEXTS = ["cat", "found money", "never again", "today", "so it goes"]


@main_guard
def main() -> None:
    """Leave in `out`/<rank>.json the scores of this rank's texts by the whole model and by its share, and their sizes.

    Rank 1 has no text at first; at last rank 0 finds no number, and rank 1 none of that.
    """
    values = json.loads(sys.argv[1])
    rank, dtype = join_processes().process_index, getattr(torch, values["dtype"])
    options = {"dtype": dtype, "batch_tokens": 40}
    whole, shared = (kind.from_pretrained(values["model"], **options) for kind in (Scorer, ShardedScorer))
    found = {"digest": [whole.digest(), shared.digest()], "scores": []}
    for counts in ((5, 0), (2, 5), (1, 1)):
        given = POSTS[: counts[rank]], TEXTS[: counts[rank]]
        found["scores"].append([scorer.score(*given).tolist() for scorer in (whole, shared)])
    held = [p.ds_tensor.numel() if hasattr(p, "ds_tensor") else p.numel() for p in shared.model.parameters()]
    found["numbers"] = [sum(p.numel() for p in whole.model.parameters()), sum(held)]
    if rank == 0:
        shared.model.v_head.weight.data.fill_(float("nan"))
    try:
        shared.score(POSTS, TEXTS)
    except UserError as error:
        found["error"] = str(error)
    (Path(values["out"]) / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
