"""Silence: what is heard of processes, and what isn't."""

from hypothesis import given
from hypothesis import strategies as st

from fitcast.trainer.attempt.heartbeats import Heartbeats, Silence, new_heartbeats
from fitcast.trainer.shared_memory import new_block


def test_signs_of_life_reach_who_maps_the_block():
    fd = new_block("fitcast-beats")
    ours = new_heartbeats(fd)
    theirs = Heartbeats(fd)
    assert theirs.read(3) == (0, 0)
    ours.enter(3, 42)
    pid, first_ns = theirs.read(3)
    assert pid == 42
    ours.beat(3)
    assert theirs.read(3) >= (42, first_ns)
    assert not theirs.has_ended(3)
    ours.ended(3)
    assert theirs.has_ended(3)
    theirs.clear(3)
    assert ours.read(3) == (0, 0)


steps = st.lists(st.tuples(st.booleans(), st.floats(0.0, 1e6)), max_size=50)


@given(steps)
def test_silence_is_what_was_observed_since_the_last_sign(observed):
    silence, now_s, sign, expected_s = Silence(2.0), 0.0, 0, 0.0
    silence.observe({7: sign}, now_s)
    for beats, step_s in observed:
        now_s += step_s
        sign += beats
        # an observer that was away for long heard nobody, and blames nobody for it
        expected_s = 0.0 if beats else expected_s + min(step_s, 2.0)
        (quiet_s,) = silence.observe({7: sign}, now_s).values()
        assert abs(quiet_s - expected_s) < 1e-6 * max(1.0, now_s)


def test_an_entry_that_was_away_begins_anew():
    silence = Silence(10.0)
    silence.observe({1: "a", 2: "a"}, 0.0)
    assert silence.observe({1: "a", 2: "a"}, 5.0) == {1: 5.0, 2: 5.0}
    assert silence.observe({2: "a"}, 6.0) == {2: 6.0}
    assert silence.observe({1: "a", 2: "b"}, 7.0) == {1: 0.0, 2: 0.0}
