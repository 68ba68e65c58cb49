"""What is observed from a record, by how its attempt ended and what was measured of it."""

import math
from dataclasses import replace

import pytest

from fitcast.history.records import SHARED_POOL, Outcome
from fitcast.sizing.learning.groups import FitObservation, observation_of
from fitcast.sizing.learning.model import SizingModel
from tests.sizing.sizing_making import BASE_BYTES, cost_s, record, request

UNMEASURED = {"cpu_s": None, "peak_memory_bytes": None, "base_memory_bytes": None}


def test_memory_that_was_not_measured_is_not_observed():
    observed = observation_of(record(request(), 2.0, **UNMEASURED))
    assert observed == FitObservation(log_runtime=math.log(2.0), failed=False)


def test_out_of_memory_without_a_measured_peak_is_bounded_by_its_limit():
    limit_bytes = 3 * 2**30
    ended = record(
        request(),
        2.0,
        outcome=Outcome.OUT_OF_MEMORY,
        memory_limit_bytes=limit_bytes,
        **UNMEASURED | {"base_memory_bytes": BASE_BYTES},
    )
    observed = observation_of(ended)
    assert observed.log_memory_least == pytest.approx(math.log(limit_bytes - BASE_BYTES))
    assert observed.log_runtime is None


@pytest.mark.parametrize("outcome", [Outcome.WORKER_LOST, Outcome.PREEMPTED, Outcome.CANCELLED])
def test_of_a_lost_attempt_nothing_is_observed(outcome):
    assert observation_of(record(request(), 2.0, outcome=outcome, **UNMEASURED)) == FitObservation()


def test_a_model_learns_no_memory_from_records_without_it():
    asked = request(params={"n_estimators": 100, "max_depth": 7})
    known = [
        record(one, cost_s(one))
        for one in (request(params={"n_estimators": 100, "max_depth": d}) for d in range(2, 9))
    ]
    holed = [replace(r, record_id=f"{r.record_id}-holed", **UNMEASURED) for r in known]
    prior = SizingModel.prior()
    (law,) = prior.estimate([asked])
    (of_holed,) = prior.train(holed).estimate([asked])
    (of_known,) = prior.train(known).estimate([asked])
    assert of_holed.peak_memory_bytes_p50 == pytest.approx(law.peak_memory_bytes_p50, rel=1e-3)
    assert of_holed.peak_memory_bytes_p95 == pytest.approx(law.peak_memory_bytes_p95, rel=1e-3)
    assert of_known.peak_memory_bytes_p95 != pytest.approx(law.peak_memory_bytes_p95, rel=1e-2)
    assert of_holed.runtime_s_p50 == pytest.approx(of_known.runtime_s_p50)


def test_of_an_unknown_machine_and_threads_fits_tell_less_together():
    asked = request(params={"n_estimators": 100, "max_depth": 6})
    settings = [request(params={"n_estimators": 100, "max_depth": d}) for d in range(2, 12)]
    law = SizingModel.prior().estimate(settings)

    def learned(**changed):
        records = [
            record(
                replace(one, threads=changed.get("threads", 1)),
                3.0 * e.runtime_s_p50,
                dataset=f"d{n}",
                imported=changed.get("imported", False),
                pool=changed.get("pool", "p"),
                machine_speed=changed.get("machine_speed", 0.0),
            )
            for n, (one, e) in enumerate(zip(settings, law, strict=True))
        ]
        return SizingModel.prior().train(records).estimate([asked])[0]

    def width(estimate):
        return math.log(estimate.runtime_s_p90 / estimate.runtime_s_p10)

    own, shared = learned(), learned(pool=SHARED_POOL, machine_speed=1.0)
    foreign, uncounted = learned(imported=True), learned(imported=True, threads=0)
    assert width(own) < width(shared) < width(foreign) < width(uncounted)
    # What threads may have won is work that one thread has to do.
    assert uncounted.runtime_s_p50 > foreign.runtime_s_p50
