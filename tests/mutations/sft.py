"""Stage 1, supervised fine-tuning."""

ROWS: list[tuple[str, ...]] = []
