"""What a kernel for the CPU is told: one record, written and read by the names of its fields."""

import ctypes
from typing import ClassVar

import numpy as np


class Job(ctypes.Structure):
    """Addresses and numbers; 0 for what is not there.

    A structure of C, since one takes a third of the time of a NumPy record to make, and its address
    is there at once: a small step is paid for in calls.
    """

    _fields_: ClassVar = [
        *((name, ctypes.c_int64) for name in ("x", "y", "sample_weight", "weight", "bias")),
        ("x_stride", ctypes.c_int64),  # from one row to the next, in numbers
        ("samples", ctypes.c_int64),
        ("features", ctypes.c_int64),
        ("cross_entropy", ctypes.c_int64),  # whether that is the cost
        # A step's results: C, ∂C/∂w and ∂C/∂b, and of every row sᵢ ∂cᵢ/∂zᵢ and sᵢ ∂cᵢ/∂yᵢ.
        *((name, ctypes.c_int64) for name in ("cost", "by_weight", "by_bias", "by_z", "by_y")),
        # A step in chunks: where each writes its sums, and the first that no thread has taken.
        *((name, ctypes.c_int64) for name in ("sums", "chunk", "end", "next")),
        # An epoch: which of the samples in their order, and then what came of it.
        *((name, ctypes.c_int64) for name in ("order", "batch_size", "first", "last", "steps")),
        *((name, ctypes.c_double) for name in ("learning_rate", "costs")),
        # Its rule beyond w ← w − ν ∂C/∂w: where v lies, of the weights and then of the bias.
        ("velocity", ctypes.c_int64),
        *((name, ctypes.c_double) for name in ("momentum", "l2", "l1")),
    ]


JOB = np.dtype(Job)
"""The same as a record of NumPy, which Numba reads by field."""
