"""A language model cut into its parts, run and sampled: what the stages and the PPO engine share."""
