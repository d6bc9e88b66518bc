"""The reward model's scores of many texts, computed on all processes of a launch and kept until the run is over."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reward_model.scoring import Scorer
from summarize_rlhf.run.kept_rows import KeptRows


def kept_rewards(
    scorer: Callable[[], Scorer],
    kept: KeptRows,
    made_from: Any,
    name: str,
    bodies: Sequence[str],
    texts: Sequence[str],
    places: Sequence[str] | None = None,
) -> Tensor:
    """Score texts in rows, sample by sample (K·N), under their posts (N,): fp32 on the CPU (K·N).

    `scorer` returns the reward model, which it may read at the first call.
    `made_from` (plain JSON) tells the reward model from others; `places` (N,) are given for no text that a model wrote.
    """

    def work(rows: list[int]) -> list[float]:
        posts = [row % len(bodies) for row in rows]
        where = None if places is None else [places[post] for post in posts]
        progress = f"score {name}" if kept.show else None
        found = scorer().score([bodies[post] for post in posts], [texts[row] for row in rows], progress, where)
        return found.tolist()

    judge = scorer()
    key = [made_from, str(judge.model.v_head.weight.dtype), judge.max_length, list(bodies), list(texts)]
    return torch.tensor(kept.rows(f"{name.replace(' ', '-')}-scores", len(texts), work, key))
