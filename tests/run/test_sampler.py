"""The order of training rows: random, by length, the same everywhere, the longest batch first."""

import torch

from summarize_rlhf.run.sampler import LengthGroupedSampler


def test_the_order_is_random_by_length_and_the_same_everywhere():
    lengths = torch.randint(1, 500, (1003,)).tolist()
    sampler = LengthGroupedSampler(lengths, 8, seed=1)
    order = list(sampler)
    assert sorted(order) == list(range(1003))
    torch.rand(7)  # another process may have drawn other numbers
    assert list(LengthGroupedSampler(lengths, 8, seed=1)) == order
    assert list(LengthGroupedSampler(lengths, 8, seed=2)) != order
    sampler.set_epoch(1)
    assert list(sampler) != order

    def padding(rows):
        batches = [[lengths[i] for i in rows[k : k + 8]] for k in range(0, len(rows), 8)]
        return sum(max(batch) * len(batch) for batch in batches) / sum(lengths) - 1

    assert padding(order) < 0.1 < 0.5 < padding(list(range(1003)))


def test_one_batch_with_the_longest_row_comes_first():
    """One alone: where many rows are cut to the same length, the others keep their random places."""
    lengths = [10] * 60 + [99] * 40
    for epoch in range(5):
        sampler = LengthGroupedSampler(lengths, 4, seed=3)
        sampler.set_epoch(epoch)
        order = [lengths[i] for i in sampler]
        batches = [max(order[k : k + 4]) for k in range(0, 100, 4)]
        assert batches[0] == 99
        assert sorted(batches[1:], reverse=True) != batches[1:]


def test_fewer_rows_than_a_batch():
    assert sorted(LengthGroupedSampler([3, 1, 2], 8, seed=0)) == [0, 1, 2]
