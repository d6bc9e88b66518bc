"""transformers' TrainingArguments for stages 1 and 2."""

SCHEDULES = ["linear", "cosine", "constant_with_warmup", "constant", "polynomial", "inverse_sqrt"]
