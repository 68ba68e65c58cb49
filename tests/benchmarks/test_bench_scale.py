import numpy as np
import pytest

from benchmarks.bench_scale import Fits, bounds_s, naive, rows, some_fits, some_pools
from benchmarks.judging import as_table
from fitcast.scheduler.plan.pools import Pool, planned_workers

GIB = 2**30


def test_the_bound_counts_places_where_only_large_fits_find_room():
    workers = planned_workers([Pool("small", 1, GIB, 9), Pool("large", 1, 4 * GIB)])
    fits = Fits(np.array([10.0, 10.0, 5.0]), np.array([2.0, 2.0, 0.5]) * GIB)
    bounds = bounds_s(fits, workers)
    assert bounds["cores"] == pytest.approx(2.5)
    assert bounds["scarce places"] == pytest.approx(20.0)
    assert bounds["longest"] == 10.0


def test_the_naive_way_has_as_many_slots_as_the_largest_fit_leaves():
    workers = planned_workers([Pool("p", 8, 10 * GIB)])
    fits = Fits(np.array([3.0] * 4), np.array([1.0, 1.0, 1.0, 5.0]) * GIB)
    assert naive(fits, workers).makespan_s == pytest.approx(6.0, abs=0.1)  # two at once


def test_our_plan_is_near_the_bound_and_far_before_the_naive_way():
    ours, naive_ = rows(quick=True)
    assert 1.0 <= ours["over bound"] < 1.2
    assert ours["makespan s"] < 0.5 * naive_["makespan s"]
    assert ours["wasted GB·h"] < naive_["wasted GB·h"]
    assert "over bound" in as_table([ours, naive_])


def test_every_fit_finds_room_somewhere():
    largest = max(pool.memory_bytes for pool in some_pools(20))
    assert some_fits(500).peak_bytes.max() < largest
