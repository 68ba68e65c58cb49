"""Pods whose status is silent, and the warnings that tell what keeps them from starting."""

import pytest

from fitcast.scheduler.backends.kubernetes import starting
from fitcast.scheduler.backends.kubernetes.starting import ASK_EVERY_S, SILENT_FOR_S, Starting

PLACED = {"type": "PodScheduled", "status": "True"}
SILENT = {"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": [PLACED]}}
RUNS = {"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [PLACED]}}
MOUNT = "FailedMount: secret not found"


class Api:
    """Tells warnings, and counts how often it is asked."""

    def __init__(self):
        self.warnings = []
        self.asked = 0

    def warnings_of(self, pod):
        self.asked += 1
        return self.warnings


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(starting.time, "monotonic", lambda: now[0])
    return now


def test_a_pod_is_asked_after_once_it_was_silent_for_long_and_not_at_every_look(clock):
    api = Api()
    pods = Starting(api)
    api.warnings = [MOUNT]
    assert pods.why_not(SILENT) == ""
    clock[0] += SILENT_FOR_S - 0.1
    assert pods.why_not(SILENT) == ""
    assert api.asked == 0
    clock[0] += 0.1
    assert [pods.why_not(SILENT) for _ in range(3)] == [MOUNT] * 3
    assert api.asked == 1
    clock[0] += ASK_EVERY_S
    api.warnings = []
    assert pods.why_not(SILENT) == ""


def test_a_pod_that_started_is_forgotten(clock):
    api = Api()
    pods = Starting(api)
    api.warnings = [MOUNT]
    pods.why_not(SILENT)
    clock[0] += SILENT_FOR_S
    assert pods.why_not(SILENT) == MOUNT
    assert pods.why_not(RUNS) == ""
    assert pods.why_not(SILENT) == ""  # its clock starts anew


@pytest.mark.parametrize(
    "warning", ["FailedScheduling: 0/2 nodes", "MissingClusterDNS: falling back", "Unhealthy: x"]
)
def test_what_is_over_or_no_obstacle_is_not_told(clock, warning):
    api = Api()
    pods = Starting(api)
    api.warnings = [MOUNT, warning]
    pods.why_not(SILENT)
    clock[0] += SILENT_FOR_S
    assert pods.why_not(SILENT) == MOUNT
