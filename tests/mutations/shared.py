"""What the stages share: text, tokens, sampler, ROUGE, hand-over; and the tables."""

ROWS: list[tuple[str, ...]] = []
