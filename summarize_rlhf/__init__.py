"""What the three stages must agree on byte for byte: text, tokens, data, checkpoints, ROUGE."""
