"""Stage 1: supervised fine-tuning on the TL;DR summaries."""
