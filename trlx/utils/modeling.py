"""PPO's arithmetic as pure functions of tensors and masks.

Shapes: B batch, R response, V vocabulary. `mask` (B, R) is 1 on response tokens, EOS included. `logprobs[:, t]` and
`rewards[:, t]` belong to response token t; `values[:, t]` precedes it.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy


def logprobs_of_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log softmax(logits) (…, V) at `labels` (…), in fp32 whatever the logits' precision. Shape (…)."""
    flat = cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), reduction="none")
    return -flat.view(labels.shape)


def entropy_of(logits: Tensor) -> Tensor:
    """Return the entropy of softmax(logits) (…, V) in nats, in fp32. Shape (…)."""
    logprobs = logits.float().log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def masked_mean(xs: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `xs` over the entries where `mask` is 1, a scalar; 0 for an empty mask."""
    return (xs * mask).sum() / mask.sum().clamp(min=1)


def _sum_over_ranks(x: Tensor, distributed: bool) -> Tensor:
    if distributed and dist.is_available() and dist.is_initialized():
        x = x.clone()
        dist.all_reduce(x)
    return x


def get_global_statistics(xs: Tensor, mask: Tensor | None = None, distributed: bool = True):
    """Return mean, biased variance and count of `xs` where `mask` is 1, over all ranks: three scalars.

    Two passes, the mean first, because mean(x²) − mean(x)² loses all digits where the spread is small.
    """
    mask = torch.ones_like(xs) if mask is None else mask.to(xs)
    totals = _sum_over_ranks(torch.stack(((xs * mask).sum(), mask.sum())), distributed)
    count = totals[1].clamp(min=1)
    mean = totals[0] / count
    squares = _sum_over_ranks((((xs - mean) ** 2) * mask).sum(), distributed)
    return mean, squares / count, totals[1]


def whiten(xs: Tensor, shift_mean: bool = True, distributed: bool = True, mask: Tensor | None = None) -> Tensor:
    """Return (x − mean) / std over the entries of all ranks where `mask` is 1; elsewhere 0. Shape of `xs`.

    With `shift_mean=False` the mean is added back. Source: trlX `utils/modeling.py`, which whitens padding too, and
    per micro-batch; here the caller passes all rollouts of a collection.
    """
    mean, var, _ = get_global_statistics(xs, mask, distributed)
    whitened = (xs - mean) * torch.rsqrt(var + 1e-8)
    if not shift_mean:
        whitened = whitened + mean
    return whitened if mask is None else whitened * mask


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Return generalised advantage estimates and returns, (B, R) each (Schulman et al. 2016, eq. 16).

        delta_t = r_t + gamma * V_{t+1} - V_t          A_t = delta_t + gamma * lam * A_{t+1}          G_t = A_t + V_t

    Nothing follows the last token of a response: its next value is 0. Entries behind a response are 0.
    """
    rewards, values = rewards * mask, values * mask  # (B, R)
    advantages = torch.zeros_like(values)  # (B, R)
    next_value = next_advantage = torch.zeros_like(values[:, 0])  # (B,)
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]  # (B,)
        next_advantage = delta + gamma * lam * next_advantage
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages, advantages + values


def kl_penalised_rewards(
    logprobs: Tensor, ref_logprobs: Tensor, scores: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """Return −kl_coef · (log π − log π_ref) of each response token plus the scores, (B, R).

    `scores` are (B,), added at the last token of each response, or dense (B, R), added token by token.
    Source: Stiennon et al. 2020, section 3.4; Ziegler et al. 2019, eq. 2.
    """
    rewards = -kl_coef * (logprobs - ref_logprobs) * mask  # (B, R)
    if scores.dim() == 2:
        return rewards + scores * mask
    last = mask.long().sum(1, keepdim=True) - 1  # (B, 1)
    return rewards.scatter_add(1, last, scores[:, None].to(rewards))


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Return 1 − Var(G − V) / Var(G) over response tokens of all ranks: 1 for perfect values, 0 for constant ones."""
    _, error, _ = get_global_statistics(returns - values, mask)
    _, total, _ = get_global_statistics(returns, mask)
    return 1 - error / total.clamp(min=1e-8)


class RunningMoments:
    """Mean and (unbiased) standard deviation of all values seen so far, by Chan's parallel update.

    Every rank must see the same values.
    """

    def __init__(self):
        self.mean = 0.0
        self.std = 1.0
        self.var = 1.0
        self.count = 0

    def update(self, xs: Tensor) -> tuple[float, float]:
        """Take in the values of `xs`, of any shape; return their own mean and standard deviation."""
        xs = xs.double()
        n, mean, squares = xs.numel(), xs.mean().item(), ((xs - xs.mean()) ** 2).sum().item()
        delta, total = mean - self.mean, self.count + n
        known = self.var * max(self.count - 1, 0) if self.count else 0.0
        combined = known + squares + delta**2 * self.count * n / total
        self.mean += delta * n / total
        self.count = total
        self.var = combined / max(total - 1, 1)
        self.std = self.var**0.5
        return mean, (squares / max(n - 1, 1)) ** 0.5

    def state_dict(self) -> dict[str, float]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self).update(state)


def flatten_dict(nested: dict, parent: str = "", sep: str = "/") -> dict:
    """Flatten {"losses": {"policy": x}} into {"losses/policy": x}, the names that dashboards show."""
    flat = {}
    for key, value in nested.items():
        name = f"{parent}{sep}{key}" if parent else key
        flat.update(flatten_dict(value, name, sep) if isinstance(value, dict) else {name: value})
    return flat
