"""How the rollouts of a collection become optimizer updates: the counts, computed here alone."""

from dataclasses import dataclass

from trlx.data.configs import TrainConfig
from trlx.models.modeling_ppo import PPOConfig


def accumulation_for(train: TrainConfig, method: PPOConfig, launchers: int, processes: int) -> int:
    """Return the training batches per update: the launcher's gradient accumulation, unless there are `num_minibatches`.

    256 rollouts in 1 minibatch on 8 processes, `batch_size` 4: 32 rollouts of a rank make 8 training batches.
    """
    if method.num_minibatches is None:
        return launchers
    share = -(-method.num_rollouts // processes)
    return -(-share // (method.num_minibatches * train.batch_size))


@dataclass(frozen=True)
class BatchPlan:
    """Counts that are the same on every rank.

    `num_rollouts` 128 on 2 processes, `batch_size` 4, `minibatch_size` 2, gradient accumulation 4:

        largest_share         64  rollouts of a rank
        rollouts_per_update   16  of a rank: 4 training batches
        micro_batches          8  forward passes of a rank in an update, each of 2 rollouts
        updates_per_epoch      4  in each of `ppo_epochs`
    """

    train: TrainConfig
    method: PPOConfig
    accumulation: int  # training batches per update (`accumulation_for`)
    processes: int

    @property
    def micro_batches(self) -> int:
        """Return the number of forward passes per rank and update."""
        return self.accumulation * -(-self.train.batch_size // (self.train.minibatch_size or self.train.batch_size))

    @property
    def rollouts_per_update(self) -> int:
        """Return the number of rollouts per rank and update, the last of an epoch aside."""
        return self.train.batch_size * self.accumulation

    @property
    def largest_share(self) -> int:
        """Return the number of rollouts of the rank that has most: every rank must keep step with it."""
        return -(-self.method.num_rollouts // self.processes)

    @property
    def updates_per_epoch(self) -> int:
        """Return the number of updates per PPO epoch."""
        return -(-self.largest_share // self.rollouts_per_update)

    @property
    def batches_per_collection(self) -> int:
        """Return the number of training batches that a collection is used for, in which steps are counted."""
        return self.updates_per_epoch * self.accumulation * self.method.ppo_epochs
