"""The embedded default: a small world of posts with a known gold score, and a small GPT-J that can read it."""
