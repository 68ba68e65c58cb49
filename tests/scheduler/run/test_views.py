"""What a view tells of the end of a workflow, as time passes."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.run.views import WorkflowView

MADE_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = MADE_AT + timedelta(seconds=40)
ETA = Eta(60.0, 100.0, 300.0, MADE_AT + timedelta(seconds=100))


def view(state, eta, *, is_over):
    return WorkflowView(
        workflow_id="w", name="n", state=state, rows={}, records=(), eta=eta, notes=(),
        submitted_at=MADE_AT, ended_at=None, is_over=is_over, error=None,
    )  # fmt: skip


def test_less_is_left_of_one_that_runs_and_nothing_told_of_one_that_is_over():
    assert view("running", ETA, is_over=False).left(LATER) == ETA.left_at(LATER)
    assert view("running", None, is_over=False).left(LATER) is None
    assert view("succeeded", ETA, is_over=True).left(LATER) is None


def test_of_one_that_nobody_runs_as_much_is_left_later():
    left = view("interrupted", ETA, is_over=True).left(LATER)
    assert (left.p10_s, left.p50_s, left.p90_s) == (60.0, 100.0, 300.0)
    assert left.finish_at == LATER + timedelta(seconds=100)


@pytest.mark.parametrize(("state", "is_over"), [("running", False), ("interrupted", True)])
def test_what_is_not_known_stays_so(state, is_over):
    unknown = Eta(math.nan, math.nan, math.nan, MADE_AT)
    assert math.isnan(view(state, unknown, is_over=is_over).left(LATER).p50_s)
