"""Tests that need a device which not every machine has."""

import pytest
import torch


def needs_cuda(test):
    """Mark a test `cuda`, and skip it where torch finds no CUDA device."""
    skip = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
    return pytest.mark.cuda(skip(test))
