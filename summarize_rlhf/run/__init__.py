"""A run kept alive: arguments, errors, files, the launch, DeepSpeed, trackers, checkpoints, preemption."""
