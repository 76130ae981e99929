import ctypes
import threading

import numpy as np
import pytest
import torch
from lanes import DTYPES, LANES
from numba import njit

from bp_torch.dtypes import DTYPES as TORCH
from bp_torch.dtypes import WIDE
from bp_torch.fused.cpu_job import JOB, Job
from bp_torch.fused.simd import (
    aligned_zeros,
    distance,
    get,
    lanes_of,
    pointer,
    pointer_like,
    put,
    record,
    size_of,
    take,
    vectors_on_stack,
)

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.mark.parametrize("dtype", TORCH)
def test_one_number_at_a_time(dtype):
    @njit
    def run(address, index):
        place = pointer(dtype, address)
        return get(place, index), lanes_of(place), size_of(place)

    tensor = torch.randn(20).to(TORCH[dtype])
    for index in (0, 7, 19):
        number, lanes, size = run(tensor.data_ptr(), index)
        assert number == tensor[index].to(WIDE[tensor.dtype]).item()
        assert lanes == (8 if dtype == "float64" else 16)
        assert size == tensor.itemsize


def test_integers_come_whole():
    @njit
    def run(address, index):
        return get(pointer("int64", address), index)

    numbers = np.array([3, 2**62 + 1, -5])  # the second is no float64
    assert [run(numbers.ctypes.data, i) for i in range(3)] == numbers.tolist()


@each_dtype
def test_a_number_is_written_in_the_dtype_of_its_place(dtype):
    @njit
    def run(address, other, number):
        place = pointer(dtype, address)
        put(place, 2, number)
        put(pointer_like(place, other), 0, get(place, 2) * 2)

    a, b = np.zeros(5, dtype), np.zeros(2, dtype)
    run(a.ctypes.data, b.ctypes.data, 0.1)
    assert a.tolist() == [0, 0, np.dtype(dtype).type(0.1), 0, 0]
    assert b.tolist() == [2 * a[2], 0]


@pytest.mark.parametrize("dtype", TORCH)
def test_a_distance_leads_from_one_array_to_another(dtype):
    @njit
    def run(address, array, index):
        return distance(pointer(dtype, address), array, index)

    tensor = torch.zeros(20).to(TORCH[dtype])
    array = np.zeros(20, "float64" if dtype == "float64" else "float32")
    for index in (0, 5):
        steps = run(tensor.data_ptr(), array, index)
        assert tensor.data_ptr() + steps * tensor.itemsize == array[index:].ctypes.data


@each_dtype
def test_zeros_lie_on_a_boundary(dtype):
    @njit
    def run(like, length):
        return aligned_zeros(like, length)

    for length in (1, 3, 16, 1000):
        room = run(np.zeros(1, dtype), length)
        assert room.ctypes.data % 64 == 0
        assert room.dtype == dtype
        assert room.tolist() == [0] * length
    assert LANES[dtype] * room.itemsize == 64


@pytest.mark.parametrize("dtype", TORCH)
def test_vectors_on_the_stack_are_0_in_every_call(dtype):
    @njit
    def run(address, out):
        room = vectors_on_stack(pointer(dtype, address), 3)
        lanes = lanes_of(pointer(dtype, address))
        for k in range(3 * lanes):
            out[k] += get(room, k)
            put(room, k, k + 1.0)
        for k in range(3 * lanes):
            out[k] += get(room, k)

    wide = str(WIDE[TORCH[dtype]]).removeprefix("torch.")
    out = np.zeros(3 * LANES[wide], wide)
    for _ in range(2):
        run(torch.zeros(1, dtype=TORCH[dtype]).data_ptr(), out)
    assert out.tolist() == [2 * (k + 1) for k in range(len(out))]


RECORD = np.dtype([("small", "i4"), ("count", "i8"), ("rate", "f8"), ("next", "i8")], align=True)


def test_fields_are_read_and_written_by_name():
    @njit
    def run(address):
        job = record(RECORD, address)
        job.rate += job.count * 0.5
        job.small = job.small + 1

    one = np.array([(3, 5, 1.25, 0)], RECORD)
    run(one.ctypes.data)
    assert one[0].item() == (4, 5, 3.75, 0)


def test_no_two_threads_take_the_same():
    @njit(nogil=True)
    def run(address, taken):
        job = record(RECORD, address)
        for i in range(len(taken)):
            taken[i] = take(job, "next")

    one = np.array([(3, 5, 1.25, 7)], RECORD)
    run(one.ctypes.data, np.zeros(0, np.int64))  # compiled before they start
    taken = np.zeros((4, 50_000), np.int64)
    threads = [threading.Thread(target=run, args=(one.ctypes.data, row)) for row in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(np.sort(taken.ravel()), np.arange(7, 7 + taken.size))
    assert one[0].item() == (3, 5, 1.25, 7 + taken.size)


def test_a_job_is_the_same_record_on_both_sides():
    job = Job(**{name: k for k, name in enumerate(JOB.names)})
    seen = np.frombuffer(job, JOB)[0]
    assert [seen[name] for name in JOB.names] == list(range(len(JOB.names)))
    assert JOB.itemsize == ctypes.sizeof(Job)
