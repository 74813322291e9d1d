"""The training loop with its checkpoints and logs, and pre-training on it."""
