"""Stage 2: the reward model, its loss, its data and its scoring."""
