import os

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from fitcast.errors import SealError
from fitcast.trainer.shared_memory import (
    freeze,
    map_attachment,
    map_object,
    new_block,
    pack,
    write_all,
    write_object,
)


def through_block(content):
    fd = new_block("test")
    try:
        write_object(fd, content)
        freeze(fd)
        return map_object(fd)
    finally:
        os.close(fd)


nested = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=3000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(nested, st.lists(st.integers(0, 5000), max_size=4))
def test_what_goes_in_comes_out(plain, sizes):
    arrays = [np.arange(n, dtype=np.float32) for n in sizes]
    back_plain, back_arrays = through_block((plain, arrays))
    assert back_plain == plain
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back_arrays, strict=True))


def test_announced_size_is_what_is_written():
    packed = pack({"a": np.ones(12_345), "b": [1, 2]})
    assert sum(len(memoryview(c).cast("B")) for c in packed.chunks()) == packed.total_bytes


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_layout_and_are_aligned(order):
    X = np.asarray(np.random.default_rng(0).normal(size=(1000, 7)), order=order)
    back = through_block(X)
    assert np.array_equal(X, back)
    assert back.flags[f"{order}_CONTIGUOUS"]
    assert back.ctypes.data % 64 == 0


def test_frames_sparse_strings_and_strided_arrays():
    frame = pd.DataFrame({"a": np.arange(5000.0), "b": ["x", None] * 2500, "c": range(5000)})
    frame["d"] = frame["b"].astype("category")
    matrix = sp.random(500, 80, 0.1, format="csr", random_state=0)
    strided = np.arange(20_000.0)[::2]
    back_frame, back_matrix, back_strided = through_block((frame, matrix, strided))
    pd.testing.assert_frame_equal(frame, back_frame)
    assert (matrix != back_matrix).nnz == 0
    assert np.array_equal(strided, back_strided)


def test_writing_to_what_was_mapped_reaches_nobody_else():
    fd = new_block("test")
    write_object(fd, np.zeros(100_000))
    freeze(fd)
    first, second = map_object(fd), map_object(fd)
    first[:] = 7.0
    assert second.sum() == 0.0
    assert map_object(fd).sum() == 0.0
    with pytest.raises(OSError, match="not permitted"):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(fd, 10)
    os.close(fd)


def test_mapping_copies_nothing():
    fd = new_block("test")
    write_object(fd, np.ones(8_000_000))
    before = own_bytes()
    back = map_object(fd)
    assert back.sum() == 8_000_000
    assert own_bytes() - before < 8_000_000  # of 64 MB
    os.close(fd)


def own_bytes():
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 500])
def test_a_block_with_something_else_is_refused(data):
    fd = new_block("test")
    write_all(fd, data)
    with pytest.raises(SealError, match="open the dataset again"):
        map_object(fd)
    os.close(fd)


def test_a_shortened_block_is_refused():
    fd = new_block("test")
    size = write_object(fd, np.ones(10_000))
    os.ftruncate(fd, size // 2)
    with pytest.raises(SealError, match="shorter than its contents"):
        map_object(fd)
    os.close(fd)


@given(st.lists(st.binary(max_size=5_000), max_size=4), st.integers(0, 5_000))
def test_attachments_are_read_without_the_object(attachments, size):
    content = np.arange(size)
    packed = pack(content, attachments)
    fd = new_block("test")
    try:
        for chunk in packed.chunks():
            write_all(fd, chunk)
        assert os.fstat(fd).st_size == packed.total_bytes
        assert np.array_equal(map_object(fd), content)
        assert [bytes(map_attachment(fd, n)) for n in range(len(attachments))] == attachments
        with pytest.raises(SealError, match="no number"):
            map_attachment(fd, len(attachments))
    finally:
        os.close(fd)
