"""Attempts to be kept, and any of them; stores to keep them in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fitcast.history.codec import record_to_json, row_to_record
from fitcast.history.records import Outcome
from fitcast.scheduler.kept.results import Ended
from fitcast.trainer.attempt.spec import Measured
from tests.history import examples

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ended(number=0, *, rows=10, model=None, predictions=None, **changes):
    """Return the attempt of a fit; its predictions say its number."""
    if predictions is None and rows:
        predictions = np.full(rows, float(number))
    values = {
        "outcome": Outcome.SUCCEEDED,
        "runtime_s": 0.5,
        "cpu_s": 0.25,
        "peak_memory_bytes": 10**8,
        "base_memory_bytes": 10**7,
        "started_at": START,
        "ended_at": START + timedelta(seconds=number),
        "scores": {"score": number / 8},
        "predictions": predictions,
        "model": model,
    }
    record = examples.record(candidate=number)
    return Ended(f"w1-c{number}-f0", record, Measured(**values | changes))


def numbers_of(kept):
    """Return the numbers of attempts made by `ended`."""
    return [one.record.candidate_index for one in kept]


def same_array(one, other):
    """Whether two arrays are the same in kind, shape and every value."""
    if one is None or other is None:
        return one is other
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.hasobject:
        flat = one.ravel().tolist(), other.ravel().tolist()
        return all(type(a) is type(b) and repr(a) == repr(b) for a, b in zip(*flat, strict=True))
    return np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


def as_stored(record):
    """Return a record as its codec gives it back."""
    return row_to_record(record_to_json(record))


_plain = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text()
_dtypes = st.one_of(
    npst.floating_dtypes(),
    npst.integer_dtypes(),
    npst.unsigned_integer_dtypes(),
    npst.boolean_dtypes(),
    npst.complex_number_dtypes(),
    npst.datetime64_dtypes(),
    npst.timedelta64_dtypes(),
    npst.unicode_string_dtypes(min_len=1),
    npst.byte_string_dtypes(min_len=1),
)
_shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
_arrays = st.one_of(
    npst.arrays(_dtypes, _shapes),
    npst.arrays(np.dtype(object), _shapes, elements=_plain),
)
_views = st.sampled_from(
    [
        lambda array: array,
        lambda array: array.T,
        lambda array: array[::-2] if array.ndim else array,
        lambda array: np.asfortranarray(array),
        lambda array: np.broadcast_to(array, (3, *array.shape)),
    ]
)
arrays = st.builds(lambda array, view: view(array), _arrays, _views)
_scores = st.dictionaries(st.text(), st.floats(), max_size=3)
_times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
_times = _times.map(lambda time: time.replace(fold=0))  # of no meaning in UTC

measured = st.builds(
    Measured,
    outcome=st.sampled_from(Outcome),
    runtime_s=st.floats(),
    cpu_s=st.floats(),
    peak_memory_bytes=st.integers(0, 2**63),
    base_memory_bytes=st.integers(0, 2**63),
    started_at=_times,
    ended_at=_times,
    shared_s=st.floats(),
    fit_time_s=st.floats(),
    score_time_s=st.floats(),
    scores=_scores,
    train_scores=_scores,
    predictions=st.none() | arrays,
    model=st.none() | st.binary(max_size=300),
    model_error=st.text(),
    stdout=st.text(),
    stderr=st.text(),
    warnings=st.lists(st.text(), max_size=3).map(tuple),
    error_type=st.text(),
    error_message=st.text(),
    traceback=st.text(),
    places=st.text(),
)
any_ended = st.lists(
    st.builds(Ended, st.text(), examples.records, measured),
    max_size=4,
    unique_by=lambda one: one.record.record_id,
)


def without_parts(measured):
    return replace(measured, predictions=None, model=None)
