"""The cluster of the simulated week: nothing is given twice, a large fit gets its turn."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.week_room import Room

FITS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 100), st.floats(1.0, 50.0), st.floats(1.0, 50.0)),
    min_size=1,
    max_size=40,
)


def test_small_fits_pass_a_large_one_only_if_they_are_done_by_then():
    room = Room(4, 100.0)
    assert room.begin(("a", 0), 1, 60.0, 10.0, 0.0)
    assert not room.begin(("large", 0), 1, 90.0, 10.0, 0.0)  # from 10 s on
    assert not room.begin(("a", 1), 1, 30.0, 20.0, 0.0)
    assert room.begin(("a", 2), 1, 30.0, 10.0, 0.0)
    assert room.begin(("b", 0), 1, 10.0, 20.0, 0.0)  # beside it
    room.end(("a", 2), 9.0)
    room.end(("a", 0), 10.0)
    assert room.begin(("large", 0), 1, 90.0, 10.0, 10.0)


def test_nothing_is_kept_for_a_workflow_that_went_back():
    room = Room(4, 100.0)
    assert room.begin(("a", 0), 1, 60.0, 10.0, 0.0)
    assert not room.begin(("large", 0), 1, 90.0, 10.0, 0.0)
    room.forget("large")
    assert room.begin(("a", 1), 1, 30.0, 20.0, 0.0)


@given(FITS)
def test_everything_ends_within_the_room(fits):
    room, now_s, left = Room(4, 100.0), 0.0, dict(enumerate(fits))
    runs: dict[int, float] = {}
    while left or runs:
        for number, (cpus, memory, said_s, takes_s) in list(left.items()):
            if room.begin(("w", number), cpus, float(memory), said_s, now_s):
                runs[number] = now_s + takes_s
                del left[number]
        assert sum(fits[n][0] for n in runs) + room.free_cpus == 4
        assert room.free_cpus >= 0 and room.free_bytes >= 0.0
        assert runs  # what waits never waits for nothing
        first = min(runs, key=lambda n: (runs[n], n))
        now_s = runs.pop(first)
        room.end(("w", first), now_s)
    assert (room.free_cpus, room.free_bytes) == (4, 100.0)
