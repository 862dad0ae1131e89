"""The ground truth that anyone can rebuild: checkpoints, targets and the grid of fine-tunings."""
