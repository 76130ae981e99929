import ctypes
import mmap
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from lanes import DTYPES, LANES
from numba import njit

from bp_torch.dtypes import DTYPES as TORCH
from bp_torch.dtypes import NAMES, WIDE
from bp_torch.fused.simd import (
    load,
    load_first,
    pointer,
    prefetch_l1,
    prefetch_l2,
    store,
    store_first,
)

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_kept = pytest.mark.parametrize("dtype", TORCH)


def reader(dtype, read):
    """read(place, index, count), of the numbers in a tensor, as an array."""

    @njit
    def run(address, index, count, out):
        store(out, 0, read(pointer(dtype, address), index, count))

    def of(tensor, index, count=0):
        wide = NAMES[WIDE[tensor.dtype]]
        out = np.full(LANES[wide], np.nan, wide)
        run(tensor.data_ptr(), index, count, out)
        return out

    return of


WHOLE = njit(lambda place, index, count: load(place, index))
FIRST = njit(lambda place, index, count: load_first(place, index, count))


@each_kept
def test_a_vector_may_begin_anywhere(dtype):
    tensor = torch.randn(100).to(TORCH[dtype])
    of = reader(dtype, WHOLE)
    for index in (0, 1, 2, 7, 33, 100 - len(of(tensor, 0))):
        actual = of(tensor, index)
        expected = tensor[index : index + len(actual)].to(WIDE[tensor.dtype]).numpy()
        assert np.array_equal(actual, expected)
        assert not np.array_equal(actual, of(tensor, index + 1) if index < 80 else expected[::-1])


@each_kept
def test_the_first_lanes_and_then_0(dtype):
    tensor = torch.randn(100).to(TORCH[dtype])
    whole, first = reader(dtype, WHOLE), reader(dtype, FIRST)
    for count in range(len(whole(tensor, 0)) + 1):
        expected = whole(tensor, 3)
        expected[count:] = 0
        assert np.array_equal(first(tensor, 3, count), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number_of_16_bits_is_read_as_torch_reads_it(dtype):
    tensor = torch.arange(-(2**15), 2**15).to(torch.int16).view(TORCH[dtype])
    of = reader(dtype, WHOLE)
    actual = np.concatenate([of(tensor, i) for i in range(0, len(tensor), 16)])
    assert np.array_equal(actual, tensor.float().numpy(), equal_nan=True)


@each_dtype
def test_stores_change_nothing_beside(dtype):
    @njit
    def run(a, value, count):
        store_first(a, 5, load(value, 0), count)

    lanes = LANES[dtype]
    value = np.arange(1, lanes + 1, dtype=dtype)
    for count in range(lanes + 1):
        a = np.full(50, -1, dtype)
        run(a, value, count)
        assert a.tolist() == [-1] * 5 + value[:count].tolist() + [-1] * (45 - count)


@each_dtype
def test_a_store_writes_all_lanes(dtype):
    @njit
    def run(a, value):
        store(a, 5, load(value, 0))

    value, a = np.arange(1, LANES[dtype] + 1, dtype=dtype), np.full(50, -1, dtype)
    run(a, value)
    assert a.tolist() == [-1] * 5 + value.tolist() + [-1] * (45 - len(value))


@each_dtype
@pytest.mark.parametrize("prefetch", [prefetch_l1, prefetch_l2], ids=["near", "far"])
def test_a_prefetch_may_go_anywhere(prefetch, dtype):
    @njit
    def run(a, index):
        prefetch(a, index)

    a = np.arange(4, dtype=dtype)
    for index in (0, 3, 10**6, -(10**6), 2**50):
        run(a, index)
    assert a.tolist() == [0, 1, 2, 3]


# Memory that ends where a page does, and beyond it a page that nobody may touch.


def before_a_forbidden_page(count, dtype):
    """An array of so many numbers that end there."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    end = mmap.PAGESIZE // np.dtype(dtype).itemsize
    return np.frombuffer(memory, dtype, end)[end - count :]


@njit
def the_first(a, out, count):
    store_first(a, 0, load_first(a, 0, count), count)


@njit
def one_lane_too_many(a, out, count):
    store(out, 0, load_first(a, 0, count + 1))


@njit
def stores_one_lane_too_many(a, out, count):
    store_first(a, 0, load_first(a, 0, count), count + 1)


@njit
def all_lanes(a, out, count):
    store(out, 0, load(a, 0))


WORDS = (the_first, one_lane_too_many, stores_one_lane_too_many, all_lanes)


def report():
    """Print which words are killed, each in a process of its own, for what they touch."""
    for word, dtype in product(WORDS, DTYPES):
        word(np.zeros(50, dtype), np.zeros(50, dtype), 3)  # compiled where nothing is forbidden
        child = os.fork()
        if child == 0:
            word(before_a_forbidden_page(3, dtype), np.zeros(50, dtype), 3)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        print(word.__name__, dtype, "killed" if killed else "done")


@pytest.mark.skipif(sys.platform == "win32", reason="it takes POSIX's mprotect and fork")
def test_nothing_beyond_the_first_lanes_is_touched():
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    code = f"import sys; sys.path[1:1] = {folders}; import test_memory; test_memory.report()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ends = {word: "done" if word is the_first else "killed" for word in WORDS}
    expected = [f"{word.__name__} {dtype} {ends[word]}" for word, dtype in product(WORDS, DTYPES)]
    assert run.stdout.splitlines() == expected
