"""A step that a GPU repeats by itself: a CUDA graph, captured once and replayed.

Launching the kernels of a decode step one by one takes the CPU longer than the GPU takes to run them, for one token a
row is little work. A graph holds all launches of a step and is started by one call. It reads and writes the addresses
that it was captured with: the step must leave its state in place, have the same shapes each time, and wait for nothing.
"""

from collections.abc import Callable

import torch

from summarize_rlhf import UserError


class ReplayedStep:
    """Call it with the same `step` each time: the first runs as it is, the second is captured, then it is replayed.

    The first sets up what libraries allocate at their first use, and autocast's copies of the weights, which must
    outlive the graph. Capturing computes nothing, so that each call makes exactly one step. Raises `UserError` where a
    model's step cannot be captured, as it waits for the GPU (mixtures of experts).
    """

    def __init__(self):
        self.stream = torch.cuda.Stream()  # of the first step: a graph is captured on such a stream, too
        self.graph: torch.cuda.CUDAGraph | None = None
        self.calls = 0

    def __call__(self, step: Callable[[], None]) -> None:
        self.calls += 1
        if self.calls == 1:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                step()
            torch.cuda.current_stream().wait_stream(self.stream)
            return
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            # Of this thread alone: NCCL's watchdog may ask for its events meanwhile.
            try:
                with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
                    step()
            except RuntimeError as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise UserError(
                    f"a decode step of this model cannot be captured as a CUDA graph ({reason}): switch CUDA graphs off"
                ) from error
        self.graph.replay()
