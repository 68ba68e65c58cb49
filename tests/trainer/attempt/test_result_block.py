"""Reports of fits: what is plain comes back as it was, and nothing else comes back at all."""

import os
import pickle
import struct

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fitcast.errors import InvalidSweepError
from fitcast.trainer.attempt.fitting import Fitted
from fitcast.trainer.attempt.messages import Report
from fitcast.trainer.attempt.result_block import (
    FIRST_REPORT,
    UnreadableReport,
    append_report,
    read_reports,
)
from fitcast.trainer.shared_memory import new_block

pytestmark = pytest.mark.security
PLAIN = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none())


class Text(str):
    """A text with code of its own."""

    def __reduce__(self):
        return (pytest.fail, ("a text's code ran where it was read",))


def there_and_back(report, **options):
    fd = new_block("test")
    try:
        append_report(fd, FIRST_REPORT, report, **options)
        (read,) = read_reports(fd)
        return read
    finally:
        os.close(fd)


def written(body):
    """Return what is read of a report that hostile code wrote."""
    fd = new_block("test")
    try:
        os.pwrite(fd, struct.pack("<Q", len(body)) + body, FIRST_REPORT)
        return read_reports(fd)
    finally:
        os.close(fd)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from(["f8", "f4", "i8", "u1", "?", "c16", "U5", "S3", "M8[ns]", "m8[s]"]),
        arrays.array_shapes(min_dims=1, max_dims=3, min_side=0),
    )
)
def test_plain_arrays_come_back_as_they_were(array):
    read = there_and_back(Report(fitted=Fitted(fit_time_s=1.0, predictions=array, model=b"m")))
    assert read.fitted.predictions.dtype == array.dtype
    np.testing.assert_array_equal(read.fitted.predictions, array)
    assert read.fitted.model == b"m"


@settings(max_examples=60, deadline=None)
@given(st.lists(PLAIN, min_size=1))
def test_plain_objects_come_back_as_they_were(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    read = there_and_back(Report(fitted=Fitted(fit_time_s=1.0, predictions=array)))
    assert [(type(v), repr(v)) for v in read.fitted.predictions] == [
        (type(v), repr(v)) for v in values
    ]


def test_what_has_code_of_its_own_comes_back_without_it():
    odd = np.array([Text("a"), pd.NA, np.float64(2.0)], dtype=object)
    read = there_and_back(
        Report(
            fitted=Fitted(fit_time_s=1.0, predictions=odd, scores={Text("s"): np.float64(1.0)}),
            warnings=(Text("w"),),
            error_message=Text("m"),
        )
    )
    assert [type(v) for v in read.fitted.predictions] == [str, type(None), float]
    texts = [*read.fitted.scores, *read.warnings, read.error_message]
    assert {type(text) for text in texts} == {str}


def test_label_lists_of_sequences_come_back_as_they_went():
    array = np.empty(4, dtype=object)
    array[:] = [["B", "I"], [], [1, [None, "x"]], ["B", "I"]]
    read = there_and_back(Report(fitted=Fitted(fit_time_s=1.0, predictions=array)))
    assert read.fitted.predictions.tolist() == array.tolist()


@pytest.mark.parametrize(
    "odd",
    [object(), {"a": 1}, [{1}], pd.Timestamp(0), lambda: 0],
    ids=lambda odd: type(odd).__name__,
)
def test_objects_are_refused_where_they_are(odd):
    array = np.empty(2, dtype=object)
    array[:] = [odd, odd]
    with pytest.raises(InvalidSweepError, match="predict_method=None"):
        there_and_back(Report(fitted=Fitted(fit_time_s=1.0, predictions=array)))


def test_a_large_result_is_refused_with_what_to_do():
    report = Report(fitted=Fitted(fit_time_s=1.0, predictions=np.zeros(10_000)))
    with pytest.raises(InvalidSweepError, match="FITCAST_RESULT_BYTES"):
        there_and_back(report, limit_bytes=50_000)


def test_a_pickle_in_a_reports_place_is_never_opened():
    body = pickle.dumps(Text("x"))
    for head in (b"", struct.pack("<Q", len(body))):
        (read,) = written(head + body)
        assert isinstance(read, UnreadableReport)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_an_altered_report_is_read_or_refused(data):
    fd = new_block("test")
    try:
        fitted = Fitted(fit_time_s=1.0, predictions=np.arange(3.0), scores={"score": 1.0})
        end = append_report(fd, FIRST_REPORT, Report(fitted=fitted))
        at = data.draw(st.integers(FIRST_REPORT + 8, end - 1))
        os.pwrite(fd, data.draw(st.binary(min_size=1, max_size=9)), at)
        (read, *_) = read_reports(fd)
        assert isinstance(read, Report | UnreadableReport)
    finally:
        os.close(fd)
