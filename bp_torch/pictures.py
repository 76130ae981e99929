"""Figures of a step and of a descent, for files and for TensorBoard."""
