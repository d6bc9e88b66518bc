"""Statistics of models and of reward models: pure functions of texts and numbers, no model in sight."""
