"""The reward model's losses against hand-worked numbers and a slow loop.

Mutations that these tests catch, each tried: the shorter text's value read inside its padding (no `hold_last`);
start or end shifted by one; `minimum` of the lengths for `maximum`; chosen and rejected exchanged; the mean
over all tokens of the batch instead of per pair.
"""

import math

import pytest
import torch
from torch import tensor

from reward_model.encoding import first_difference
from reward_model.loss import LOSSES, end_scores, hold_last, last_token_loss, pairwise_loss

PADDING = 1e4  # what a value on padding may be; it must not matter


def starts(chosen_ids, rejected_ids, chosen_lengths, rejected_lengths) -> torch.Tensor:
    """Where the texts of padded ids part (B,)."""
    return tensor(
        [
            first_difference(chosen[:c], rejected[:r])
            for chosen, rejected, c, r in zip(
                chosen_ids.tolist(), rejected_ids.tolist(), chosen_lengths, rejected_lengths, strict=True
            )
        ]
    )


def softplus(x: float) -> float:
    """-log sigmoid(-x)."""
    return math.log1p(math.exp(x))


def loop_loss(chosen, rejected, chosen_lengths, rejected_lengths, chosen_ids, rejected_ids) -> float:
    """The published loss in words, pair by pair and token by token."""
    losses = []
    for c, r, c_length, r_length, c_ids, r_ids in zip(
        chosen, rejected, chosen_lengths, rejected_lengths, chosen_ids, rejected_ids, strict=True
    ):
        c_ids, r_ids = c_ids[:c_length].tolist(), r_ids[:r_length].tolist()
        c, r = c[:c_length].tolist(), r[:r_length].tolist()
        longer = max(len(c), len(r))
        c, r = c + [c[-1]] * (longer - len(c)), r + [r[-1]] * (longer - len(r))
        start = 0
        while start < min(len(c_ids), len(r_ids)) and c_ids[start] == r_ids[start]:
            start += 1
        terms = [softplus(r[t] - c[t]) for t in range(start, longer)]
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    return sum(losses) / len(losses)


def random_pairs(seed: int, pairs: int = 5, width: int = 12):
    """Random values and ids of pairs that share a beginning, lengths, and garbage on the padding."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, width + 1, (2, pairs), generator=generator)
    ids = torch.randint(0, 3, (2, pairs, width), generator=generator)
    shared = torch.randint(1, 8, (pairs,), generator=generator)
    ids[1] = torch.where(torch.arange(width) < shared[:, None], ids[0], ids[1])
    values = torch.randn(2, pairs, width, generator=generator, dtype=torch.float64)
    values = torch.where(torch.arange(width) < lengths[..., None], values, PADDING)
    return *values, *lengths, *ids


@pytest.mark.parametrize("seed", range(20))
def test_pairwise_loss_is_the_loop(seed):
    chosen, rejected, chosen_lengths, rejected_lengths, chosen_ids, rejected_ids = random_pairs(seed)
    start = starts(chosen_ids, rejected_ids, chosen_lengths, rejected_lengths)
    ours = pairwise_loss(chosen, rejected, chosen_lengths, rejected_lengths, start).mean()
    slow = loop_loss(chosen, rejected, chosen_lengths, rejected_lengths, chosen_ids, rejected_ids)
    assert ours.item() == pytest.approx(slow, rel=1e-6)


def test_pairwise_loss_by_hand():
    # They part at position 2. Chosen has 4 tokens, rejected 3: rejected's last value, -1, is held at position 3.
    chosen = tensor([[9.0, 9.0, 1.0, 2.0, PADDING]])
    rejected = tensor([[9.0, 9.0, -1.0, -PADDING, PADDING]])
    loss = pairwise_loss(chosen, rejected, tensor([4]), tensor([3]), tensor([2]))
    assert loss.item() == pytest.approx((softplus(-2) + softplus(-3)) / 2, rel=1e-6)  # 0.0878


def test_a_prefix_is_compared_from_its_end():
    # Rejected is chosen without its last token: chosen's value at position 2 against rejected's last, at position 1.
    start = tensor([first_difference([5, 6, 7], [5, 6])])
    assert start.tolist() == [2]
    loss = pairwise_loss(tensor([[0.0, 0.5, 2.0]]), tensor([[0.0, 0.5, PADDING]]), tensor([3]), tensor([2]), start)
    assert loss.item() == pytest.approx(softplus(0.5 - 2.0), rel=1e-6)


def test_last_token_loss_by_hand():
    chosen = tensor([[0.0, 1.0, 3.0], [0.0, 2.0, PADDING]])
    rejected = tensor([[0.0, 2.0, PADDING], [0.0, 0.0, 2.5]])
    loss = last_token_loss(chosen, rejected, tensor([3, 2]), tensor([2, 3]), tensor([1, 1]))
    assert loss.tolist() == pytest.approx([softplus(2.0 - 3.0), softplus(2.5 - 2.0)], rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_an_equal_pair_adds_nothing(loss):
    values = torch.randn(2, 3, 4, requires_grad=True)
    lengths = tensor([4, 3, 2])
    start = tensor([1, 3, 0])  # the second pair's texts are equal: they part at their end
    losses = loss(*values, lengths, lengths, start)
    (gradient,) = torch.autograd.grad(losses.mean(), values)
    assert gradient[:, 1].abs().max() == 0
    assert gradient[:, [0, 2]].abs().amax(-1).min() > 0
    assert losses[1] == 0
    assert losses[[0, 2]].min() > 0
    only = loss(*values[:, [1]], lengths[[1]], lengths[[1]], start[[1]])
    assert only.item() == 0


@pytest.mark.parametrize("loss", LOSSES.values())
def test_padding_and_split_change_nothing(loss):
    chosen, rejected, *lengths, chosen_ids, rejected_ids = random_pairs(0, pairs=6)
    start = starts(chosen_ids, rejected_ids, *lengths)
    whole = loss(chosen, rejected, *lengths, start)
    wider = [torch.cat([values, torch.full((6, 3), -PADDING)], 1) for values in (chosen, rejected)]
    torch.testing.assert_close(loss(*wider, *lengths, start), whole)
    halves = [
        loss(chosen[part], rejected[part], *(length[part] for length in lengths), start[part])
        for part in (slice(0, 2), slice(2, 4), slice(4, 6))
    ]
    torch.testing.assert_close(torch.cat(halves), whole)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_no_gradient_on_padding_and_finite_for_large_values(loss):
    values = torch.tensor([[[0.0, 300.0, 7.0]], [[0.0, -300.0, 7.0]]], requires_grad=True)
    lengths = tensor([2])
    right, wrong = loss(*values, lengths, lengths, tensor([1])), loss(*values.flip(0), lengths, lengths, tensor([1]))
    assert right.item() == pytest.approx(0, abs=1e-6)
    assert wrong.item() == pytest.approx(600, rel=1e-6)
    (gradient,) = torch.autograd.grad(wrong, values)
    assert gradient[..., 2].abs().max() == 0
    assert gradient.isfinite().all()


def test_scores_are_held_from_the_last_real_token():
    values = tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert end_scores(values, tensor([2, 3])).tolist() == [2, 6]
    assert hold_last(values, tensor([2, 1])).tolist() == [[1, 2, 2], [4, 4, 4]]
