"""Keep a run alive: arguments, errors, files, the launch, DeepSpeed, trackers, checkpoints, preemption."""
