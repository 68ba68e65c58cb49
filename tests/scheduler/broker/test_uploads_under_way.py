"""Uploads at once: how many, of whom, and what they hold in memory together."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.errors import BusyError, LimitError
from fitcast.scheduler.broker.uploads_under_way import (
    LEAST_GATHERED_BYTES,
    MEMORY_BYTES,
    UploadsUnderWay,
)


@given(st.integers(1, 40), st.lists(st.integers(0, 5), max_size=80))
def test_no_more_are_let_in_than_there_may_be_and_all_is_counted_back(most, users):
    under_way = UploadsUnderWay(most)
    let_in = []
    with ExitStack() as stack:
        for user in users:
            try:
                stack.enter_context(under_way.one_of(user))
            except BusyError:
                assert len(let_in) == most
            except LimitError:
                assert let_in.count(user) == max(1, most // 4)
            else:
                let_in.append(user)
            assert under_way.count == len(let_in) <= most
            assert under_way.gathered_bytes >= LEAST_GATHERED_BYTES
            if let_in:
                held = under_way.gathered_bytes * len(let_in)
                assert held <= max(MEMORY_BYTES, LEAST_GATHERED_BYTES * len(let_in))
    assert under_way.count == 0
    with under_way.one_of(0):
        assert under_way.count == 1


def test_one_that_fails_is_counted_back():
    under_way = UploadsUnderWay(1)
    with pytest.raises(OSError), under_way.one_of(1):
        raise OSError
    with under_way.one_of(2):
        pass
