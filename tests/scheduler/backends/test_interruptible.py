"""A start that is given up: whoever waits is released at once, and what was begun can be joined."""

import threading

import pytest

from fitcast.errors import BackendError
from fitcast.scheduler.backends.interruptible import InterruptibleStart


def test_what_is_made_is_returned_and_a_failure_raised():
    assert InterruptibleStart("t").run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        InterruptibleStart("t").run(lambda: 1 / 0)


def test_an_interrupt_releases_who_waits_while_a_step_goes_on():
    start, step_began, step_ends = InterruptibleStart("t"), threading.Event(), threading.Event()
    made = []

    def make():
        step_began.set()
        assert step_ends.wait(60)
        start.check()
        made.append(True)

    def interrupt():
        assert step_began.wait(60)
        start.interrupt()

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(BackendError, match="given up"):
        start.run(make)  # returns although the step goes on
    assert not step_ends.is_set()
    step_ends.set()
    start.join(60)
    other.join(60)
    assert made == []


def test_what_was_interrupted_before_is_never_begun():
    start, made = InterruptibleStart("t"), []
    start.interrupt()
    with pytest.raises(BackendError):
        start.run(lambda: made.append(True))
    start.join(60)
    assert made == []


def test_an_interrupt_after_the_start_changes_nothing():
    start = InterruptibleStart("t")
    assert start.run(lambda: 7) == 7
    start.interrupt()
    start.join(60)
