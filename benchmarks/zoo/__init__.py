"""The ground truth: real checkpoints, real targets, one recipe."""
