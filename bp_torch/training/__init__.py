"""Training on real data: configuration, data, descent, checkpoints, and what TensorBoard sees."""
