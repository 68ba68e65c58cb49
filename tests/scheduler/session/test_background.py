"""Decisions of the background process that need no process: when it ends, what has changed."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast import errors
from fitcast.errors import error_named
from fitcast.scheduler.session.background.idleness import Idleness
from fitcast.scheduler.session.documents import Changes, error_document

AFTER_S = 60.0


def test_it_ends_once_nothing_was_asked_and_nothing_ran_for_so_long():
    runs = []
    idleness = Idleness(AFTER_S, lambda: bool(runs), now_s=0.0)
    assert idleness.left_s(10.0) == 50.0
    assert idleness.begin(20.0)
    assert idleness.left_s(500.0) > 0  # an answer is under way
    idleness.end(500.0)
    runs.append("a workflow")
    assert idleness.left_s(1000.0) > 0
    runs.clear()
    assert idleness.left_s(1001.0) == 59.0
    assert idleness.left_s(1060.0) == 0.0
    assert idleness.is_ending
    assert not idleness.begin(1060.0)


@given(st.lists(st.tuples(st.sampled_from(["ask", "answer", "run", "ended"]), st.integers(0, 100))))
def test_no_request_comes_in_between_the_decision_and_the_end(steps):
    runs: list[str] = []
    asked, now_s, over = 0, 0.0, False
    idleness = Idleness(AFTER_S, lambda: bool(runs), now_s)
    for step, later_s in steps:
        now_s += later_s
        if step == "ask":
            taken = idleness.begin(now_s)
            assert taken != over
            asked += taken
        elif step == "answer" and asked:
            asked -= 1
            idleness.end(now_s)
        elif step == "run" and asked and not over:  # a workflow comes by a request
            runs.append("a workflow")
        elif step == "ended":
            runs.clear()
        left_s = idleness.left_s(now_s)
        assert left_s <= AFTER_S
        if asked or runs:
            assert left_s > 0
        over = over or left_s == 0.0


class Row:
    pass


def test_each_reader_is_told_what_changed_since_it_asked():
    changes = Changes()
    a, b, c = Row(), Row(), Row()
    first, cursor = changes.since(SimpleNamespace(rows={"a": a, "b": b}), "")
    assert first == [a, b]
    same = SimpleNamespace(rows={"a": a, "b": c})
    assert changes.since(same, cursor)[0] == [c]
    assert changes.since(same, cursor)[0] == [c]  # another reader with the same cursor
    assert changes.since(same, changes.since(same, cursor)[1])[0] == []
    for other in ("", "another process:7", "nonsense", ":"):
        assert changes.since(same, other)[0] == [a, c]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.UnknownWorkflowError("x"), 404, "unknown_workflow"),
        (errors.WorkflowHeldError("x"), 409, "held_elsewhere"),
        (errors.SubmissionError("x"), 409, "cannot_be_resumed"),
        (errors.StoreError("x"), 507, "store"),
        (errors.BackendError("x"), 400, "refused"),
    ],
)
def test_errors_are_told_by_code_and_come_back_as_they_were(error, status, code):
    found, told = error_document(error)
    assert (found, told["error"]["code"]) == (status, code)
    assert type(error_named(told["error"]["type"], told["error"]["message"])) is type(error)


@pytest.mark.parametrize("kind", ["", "Exception", "SystemExit", "annotations", "no such"])
def test_an_error_of_an_unknown_kind_is_one_of_ours(kind):
    assert type(error_named(kind, "said")) is errors.FitcastError
