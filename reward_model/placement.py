"""Where PPO's reward model stands: on a GPU of its own, else on the policy's, whole or in shares.

Each process scores its own samples, so that none waits for another; so each has the model, or its share of it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reward_model.reward_model import RewardModel
from reward_model.scoring import Scorer
from summarize_rlhf import UserError
from summarize_rlhf.run.deepspeed_config import NAMES
from summarize_rlhf.run.deepspeed_defaults import written_out
from summarize_rlhf.run.launch import local_processes
from summarize_rlhf.run.zero3 import max_over_processes


def reward_device(policy: torch.device) -> torch.device:
    """Choose a GPU that no policy of this machine uses, if there is one (as published: policy on 0, reward model on 1).

    Where there are fewer of them than processes, some share one.
    """
    used = local_processes()
    spare = torch.cuda.device_count() - used if policy.type == "cuda" else 0
    return torch.device("cuda", used + (policy.index or 0) % spare) if spare > 0 else policy


def check_shares(texts: int, processes: int) -> None:
    """Raise `UserError` where `texts` are less than one for each of the processes that score them together."""
    if texts < processes:
        raise UserError(
            f"{texts} evaluation prompts are less than one for each of {processes} processes, which score together "
            "under ZeRO-3: take more (task.max_eval_prompts), or let one score, which then holds the whole reward "
            "model (train.reward_on_all_ranks false)"
        )


class ShardedScorer(Scorer):
    """A scorer of which each process holds a share of the weights (ZeRO-3), and gathers a layer's at a time.

    All processes score at the same time, each its own texts, of which it may have none: a forward pass is a collective,
    so all make equally many.
    """

    def __init__(self, model: RewardModel, *args: Any):
        super().__init__(model, *args)
        self.whole_digest = model.digest()
        self.forward = shard(model)

    def digest(self) -> str:
        return self.whole_digest

    def score_ids(self, texts: Sequence[Sequence[int]], progress: str | None = None) -> Tensor:
        passes = sum(1 for _ in self.batches([len(text) for text in texts]))
        nothing = [self.tokenizer.eos_token_id] * 2  # with one token alone other parts of the model would run
        for _ in range(max_over_processes(passes, self.model.v_head.weight.device) - passes):
            self.score_batch([nothing])
        return super().score_ids(texts, progress)  # last, for it raises where a score is no number


def shard(model: RewardModel) -> nn.Module:
    """Spread a model's backbone over all processes, in place; return what runs it. The head stays whole, in fp32."""
    import deepspeed

    dtype = NAMES[model.transformer.dtype]
    config = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}
    config |= {} if dtype == "fp32" else {dtype: {"enabled": True}}
    head, model.v_head = model.v_head, nn.Identity()
    engine, *_ = deepspeed.initialize(model=model, config=written_out(config, dtype))
    model.v_head = head
    return engine
