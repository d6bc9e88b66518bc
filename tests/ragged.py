"""Random batches of responses of several lengths."""

import torch

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64


LENGTHS = (5, 1, 3, 4)  # of the responses in a batch (B, R) = (4, 5)


def ragged(seed: int = 0, lengths=LENGTHS) -> tuple[torch.Tensor, torch.Generator]:
    """A mask (B, R) for responses of these lengths, and a generator for what it covers."""
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return mask.double(), torch.Generator().manual_seed(seed)


def normal(mask: torch.Tensor, g: torch.Generator, scale: float = 1.0) -> torch.Tensor:
    """Random (B, R) in float64, with rubbish of its own behind each response."""
    return scale * torch.randn(mask.shape, generator=g, dtype=torch.float64)
