"""Stage 2, the reward model."""

ROWS: list[tuple[str, ...]] = []
