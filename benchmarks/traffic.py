"""What training sends between processes, and what that predicts for a step of SFT of GPT-J 6B on 8, 64 and 512 GPUs.

A prediction on paper: it computes from the constants below, which are its assumptions, and no GPU is asked. Whether
bytes are counted rightly is measured on two hosts (two_hosts.py). docs/figures.py makes the tables of docs/scale.md.

Each GPU works on the rows of one micro-batch. Rings go through all GPUs, once for each network card of a node, so that
each card carries 1/`NODE` of what a GPU sends, at the same time as the links inside.
"""

import math
from typing import NamedTuple

# The run: SFT as published
WEIGHTS, BLOCKS, WIDTH = 6_050_882_784, 28, 4096  # GPT-J 6B
TOKENS, BATCH = 550, 128  # of a row; rows of a global batch
WIRE = 2  # bytes of a number on the wire: bf16 gradients (communication_data_type) and weights
# The machine: nodes of 8 H100 or H200
PEAK, MFU = 989e12, 0.45  # FLOP/s of a GPU in dense bf16; the share of it that 6 · weights · tokens + attention reach
NODE = 8  # GPUs, and as many network cards
INSIDE, BETWEEN = 450e9, 50e9  # bytes/s that a GPU sends over NVLink, and that a network card sends (400 Gb/s)
LEFT_OUT = (
    "latency, buckets, stragglers, data loading, evaluation, checkpoints, and that one row a GPU makes small products"
)

# What a ring sends from each of n processes, in units of (n - 1)/n of the numbers
UNITS = {"all-reduce": 2, "reduce-scatter": 1, "all-gather": 1}
SCHEMES = ("DDP", "ZeRO-1", "ZeRO-2", "ZeRO-3")
GRADIENTS = dict.fromkeys(SCHEMES, "reduce-scatter") | {"DDP": "all-reduce"}  # as the ZeRO paper has it, section 7
# DeepSpeed 0.19 all-reduces the buckets of ZeRO-1 and -2, too, and drops what a process need not have
# (use_multi_rank_bucket_allreduce, its default).
GRADIENTS_OF_DEEPSPEED = dict.fromkeys(SCHEMES, "all-reduce") | {"ZeRO-3": "reduce-scatter"}


class Step(NamedTuple):
    """An optimizer step on `gpus` GPUs: seconds to compute and to send, and the share of the GPUs that have rows."""

    compute: float
    wire: float
    busy: float

    @property
    def without_overlap(self) -> float:
        """Return the share of all GPUs' time that is computation, where nothing is sent meanwhile."""
        return self.busy * self.compute / (self.compute + self.wire)

    @property
    def with_overlap(self) -> float:
        """Return the same where all is sent while the GPUs compute: a bound."""
        return self.busy * self.compute / max(self.compute, self.wire)


def sent(scheme: str, processes: int, weights: float, trained: float, gradients: dict[str, str] = GRADIENTS) -> float:
    """Return how many numbers each process sends in an optimizer step of one micro-batch, in rings.

    `gradients` names the collective for the gradients of the `trained` weights. ZeRO-1 and -2 gather these when they
    are updated. ZeRO-3 gathers all weights for the forward pass, and those that are trained again for the backward
    pass, which ends above frozen blocks.
    """
    gathered = {"DDP": 0, "ZeRO-1": trained, "ZeRO-2": trained, "ZeRO-3": weights + trained}[scheme]
    numbers = UNITS[gradients[scheme]] * trained + UNITS["all-gather"] * gathered
    return (processes - 1) / processes * numbers


def bytes_of(scheme: str, gpus: int) -> float:
    """Return the bytes that a GPU sends in a step of the run, as DeepSpeed does it."""
    return WIRE * sent(scheme, gpus, WEIGHTS, WEIGHTS, GRADIENTS_OF_DEEPSPEED)


def seconds_to_send(number: float, gpus: int) -> float:
    """Return how long `number` bytes of each GPU take: as long as the slower kind of link does."""
    if gpus <= NODE:
        return number / INSIDE
    return max(number * (NODE - 1) / NODE / INSIDE, number / NODE / BETWEEN)


def seconds_to_compute(rows: float) -> float:
    """Return how long a GPU takes for rows: 6 operations a weight and token, and attention's (PaLM, appendix B)."""
    operations = rows * TOKENS * (6 * WEIGHTS + 12 * BLOCKS * WIDTH * TOKENS)
    return operations / (MFU * PEAK)


def step(scheme: str, gpus: int, batch: int = BATCH) -> Step:
    """Predict a step. With fewer rows than GPUs, as many GPUs as there are rows have one, and the others wait."""
    rows = math.ceil(batch / gpus)
    busy = batch / (rows * gpus)
    return Step(seconds_to_compute(rows), seconds_to_send(bytes_of(scheme, gpus), gpus), busy)
