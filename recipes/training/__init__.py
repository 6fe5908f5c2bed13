"""Training: runs, precision, checkpoints, optimizers, prediction."""
