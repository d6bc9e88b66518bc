"""How far a policy has moved from its reference: the KL divergence along given responses, exact at each step.

Shapes: R tokens of a response, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel


def kl_of_logits(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Return KL(π ‖ π_ref) (…) in nats between the softmax of two tensors (…, V), in fp32.

    What π never says (a logit of −∞) adds nothing: 0·log 0 = 0.
    """
    logprobs, reference = logits.float().log_softmax(-1), reference_logits.float().log_softmax(-1)
    never = logprobs == -torch.inf
    return (logprobs.exp() * (logprobs - reference).masked_fill(never, 0.0)).sum(-1)


class Divergence(NamedTuple):
    """How far a policy is from its reference along one response, in nats."""

    kl: float  # Σ_t KL(π(· | x, y_<t) ‖ π_ref(· | x, y_<t)), over the whole vocabulary at each step
    log_ratio: float  # log π(y | x) − log π_ref(y | x), of the tokens of the response alone


def kl_of_responses(*args, **options) -> list[float]:
    """Return the `kl` of `divergences`; same arguments."""
    return [found.kl for found in divergences(*args, **options)]


@torch.no_grad()
def divergences(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    batch_size: int = 16,
    progress: str | None = None,
) -> list[Divergence]:
    """Measure how far π is from π_ref along each of `responses` (ids with EOS) to `prompts` (ids), in the order given.

    On responses sampled from π at temperature 1 the means of both figures are unbiased estimates of the KL between the
    two distributions of responses; `kl` has less variance, for at each step it is the expectation of `log_ratio`'s
    term. On greedy responses `kl` is the divergence met on the way, and neither is a KL between distributions.
    `progress` names the bar; None shows none.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)  # memory shows at once
    found: list[Divergence | None] = [None] * len(prompts)
    with tqdm(total=len(order), desc=progress, disable=progress is None, unit="sample", leave=False) as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            texts = [torch.tensor([*prompts[i], *responses[i]]) for i in rows]
            ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)  # on the right: nothing sees its padding
            mask = (torch.arange(ids.shape[1]) < torch.tensor([len(text) for text in texts])[:, None]).long()
            first = min(len(prompts[i]) for i in rows) - 1  # the position whose logits are of a first response token
            ours, theirs = (_logits(model, ids, mask, first) for model in (policy, reference))
            for row, i in enumerate(rows):
                begin = len(prompts[i]) - 1 - first
                steps = slice(begin, begin + len(responses[i]))
                both = ours[row, steps], theirs[row, steps].to(ours.device)  # (R, V)
                tokens = torch.tensor(responses[i], device=ours.device)[:, None]
                chosen = [logits.float().log_softmax(-1).gather(1, tokens).sum().item() for logits in both]
                found[i] = Divergence(kl_of_logits(*both).sum().item(), chosen[0] - chosen[1])
            bar.update(len(rows))
    return found


def _logits(model: PreTrainedModel, ids: Tensor, mask: Tensor, first: int) -> Tensor:
    """Return logits from position `first` on."""
    ids, mask = ids.to(model.device), mask.to(model.device)
    return model(ids, attention_mask=mask, use_cache=False, logits_to_keep=ids.shape[1] - first).logits
