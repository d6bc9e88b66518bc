"""How a global batch is shared by processes and micro-batches."""

import pytest

from summarize_rlhf import UserError
from summarize_rlhf.run.launch import accumulation


@pytest.mark.parametrize(
    ("batch", "per_device", "processes", "steps"),
    [(128, 16, 8, 1), (128, 16, 1, 8), (128, 16, 2, 4), (32, 1, 8, 4), (32, 1, 1, 32), (5, 5, 1, 1)],
)
def test_the_global_batch_is_kept(batch, per_device, processes, steps):
    assert accumulation(batch, per_device, processes) == steps


@pytest.mark.parametrize(
    ("batch", "per_device", "processes", "message"),
    [
        (128, 24, 1, r"128 cannot be made of 1 process\(es\) × 24 rows: a per-device batch of 16 .* 120 or 144"),
        (128, 16, 3, r"3 processes cannot share it evenly, or a global batch of 96 or 144"),
        (8, 16, 1, r"a per-device batch of 8 would do, or a global batch of 16$"),
    ],
)
def test_a_batch_that_does_not_divide_names_the_nearest(batch, per_device, processes, message):
    with pytest.raises(UserError, match=message):
        accumulation(batch, per_device, processes)
