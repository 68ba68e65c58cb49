"""What the status and the warnings of pods mean, and whether a start is still to be hoped for."""

import pytest

from fitcast.history.records import Outcome
from fitcast.scheduler.backends.kubernetes.pod_status import (
    ASK_EVERY_S,
    HOPELESS_AFTER_S,
    OPERATOR_WITHIN_S,
    SILENT_FOR_S,
    FaultKind,
    StartFault,
    StartObstacles,
    StartPatience,
    is_ready,
    is_silent,
    lasting_labels,
    start_fault,
    why_gone,
    why_no_pod,
    why_pending,
)


def pod(*, conditions=(), containers=(), deleted=False, **status):
    return {
        "metadata": {"name": "p"}
        | ({"deletionTimestamp": "2026-11-27T00:00:00Z"} if deleted else {}),
        "status": {"conditions": list(conditions), "containerStatuses": list(containers)} | status,
    }


def ended(reason, code=137, at="state"):
    return {at: {"terminated": {"reason": reason, "exitCode": code}}}


def waiting(reason, message=""):
    return {"state": {"waiting": {"reason": reason, "message": message}}}


NO_ROOM = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/2 nodes are available: 2 Insufficient memory.",
}


def test_a_pod_without_room_is_told_in_the_clusters_words():
    assert why_pending(pod(conditions=[NO_ROOM])) == (
        "Unschedulable: 0/2 nodes are available: 2 Insufficient memory."
    )


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "CreateContainerError"])
def test_a_container_that_cannot_start_is_told(reason):
    assert why_pending(pod(containers=[waiting(reason, "no such image")])) == (
        f"{reason}: no such image"
    )


def test_a_crash_loop_is_told_with_what_the_container_said():
    looping = waiting("CrashLoopBackOff", "back-off 10s")
    looping["lastState"] = {
        "terminated": {"exitCode": 3, "message": "Traceback:\nNo module named x\n"}
    }
    assert why_pending(pod(containers=[looping])) == (
        "CrashLoopBackOff: exit code 3; No module named x"
    )


def test_a_pod_that_starts_as_usual_is_no_trouble():
    assert why_pending(pod(containers=[waiting("ContainerCreating")])) == ""
    assert why_pending({"metadata": {"name": "p"}}) == ""


def test_a_pod_with_a_node_that_tells_nothing_is_silent():
    placed = {"type": "PodScheduled", "status": "True"}
    creating = waiting("ContainerCreating")
    assert is_silent(pod(conditions=[placed], containers=[creating], phase="Pending"))
    assert not is_silent(pod(conditions=[placed], containers=[creating], phase="Running"))
    assert not is_silent(pod(conditions=[NO_ROOM], phase="Pending"))
    pulling = waiting("ImagePullBackOff")
    assert not is_silent(pod(conditions=[placed], containers=[pulling], phase="Pending"))


def test_labels_that_the_next_pod_will_not_have_are_left_out():
    labels = {"app": "broker", "pod-template-hash": "5f7"}
    assert lasting_labels({"metadata": {"labels": labels}}) == {"app": "broker"}
    assert lasting_labels({"metadata": {}}) == {}


def test_a_quota_is_told_of_the_deployment():
    refused = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota: team",
    }
    assert why_no_pod({"status": {"conditions": [refused]}}) == "FailedCreate: exceeded quota: team"
    assert why_no_pod({"status": {}}) == ""


@pytest.mark.parametrize(
    ("gone", "outcome"),
    [
        (None, Outcome.PREEMPTED),
        (pod(deleted=True), Outcome.PREEMPTED),
        (pod(phase="Failed", reason="Evicted", message="low on memory"), Outcome.PREEMPTED),
        (
            pod(
                conditions=[
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "PreemptionByScheduler",
                    }
                ]
            ),
            Outcome.PREEMPTED,
        ),
        (pod(containers=[ended("OOMKilled")]), Outcome.OUT_OF_MEMORY),
        (pod(containers=[ended("OOMKilled", at="lastState")]), Outcome.OUT_OF_MEMORY),
        (pod(containers=[ended("Error")]), Outcome.WORKER_LOST),
        (pod(), Outcome.WORKER_LOST),
    ],
)
def test_why_a_worker_is_gone(gone, outcome):
    assert why_gone(gone).outcome is outcome


def test_a_pod_is_ready_when_it_says_so():
    assert is_ready(pod(conditions=[{"type": "Ready", "status": "True"}]))
    assert not is_ready(pod(conditions=[{"type": "Ready", "status": "False"}]))


def test_an_operator_that_does_not_run_is_noticed_within_seconds():
    fault = start_fault({}, None, [])
    waits = StartPatience(300.0)
    assert not waits.is_over(fault, 100.0)
    assert waits.is_over(fault, 100.0 + OPERATOR_WITHIN_S)
    assert "the Dask operator isn't running" in waits.message("s", fault, [])


def test_a_missing_image_is_given_up_soon_and_a_full_cluster_late():
    image = start_fault({}, {}, [pod(containers=[waiting("ErrImagePull", "not found")])])
    full = start_fault({}, {}, [pod(conditions=[NO_ROOM])])
    waits = StartPatience(300.0)
    assert not waits.is_over(full, 0.0)
    assert not waits.is_over(full, 299.0)
    assert waits.is_over(full, 300.0)
    waits = StartPatience(300.0)
    assert not waits.is_over(image, 0.0)
    again = start_fault({}, {}, [pod(containers=[waiting("ImagePullBackOff", "back-off")])])
    assert not waits.is_over(again, HOPELESS_AFTER_S / 2)  # both by turns are one fault
    assert waits.is_over(image, HOPELESS_AFTER_S)
    assert "ErrImagePull: not found" in waits.message("s", image, ["Failed: pulling"])
    assert "Its events: Failed: pulling" in waits.message("s", image, ["Failed: pulling"])


def test_a_fault_that_passes_starts_the_clock_anew():
    image = StartFault(FaultKind.HOPELESS, "…")
    waits = StartPatience(300.0)
    assert not waits.is_over(image, 0.0)
    assert not waits.is_over(StartFault(), 8.0)
    assert not waits.is_over(image, 12.0)
    assert waits.is_over(image, 12.0 + HOPELESS_AFTER_S)


def test_a_start_without_any_fault_is_waited_for_to_its_limit():
    waits = StartPatience(60.0)
    assert not waits.is_over(StartFault(), 0.0)
    assert waits.is_over(StartFault(), 60.0)
    assert "wasn't ready within 60 s" in waits.message("s", StartFault(), [])


PLACED = {"type": "PodScheduled", "status": "True"}
SILENT = pod(conditions=[PLACED], phase="Pending")
RUNS = pod(conditions=[PLACED], phase="Running")
MOUNT = "FailedMount: secret not found"


class Warnings:
    """Warnings about a pod, and how often they were asked for."""

    def __init__(self, *warnings):
        self.warnings = list(warnings)
        self.asked = 0

    def __call__(self, pod):
        self.asked += 1
        return self.warnings


def test_warnings_are_asked_for_once_a_pod_was_silent_for_long_and_not_every_time():
    warnings = Warnings(MOUNT)
    obstacles = StartObstacles(warnings)
    assert obstacles.why_not(SILENT, 0.0) == ""
    assert obstacles.why_not(SILENT, SILENT_FOR_S - 0.1) == ""
    assert warnings.asked == 0
    assert [obstacles.why_not(SILENT, SILENT_FOR_S) for _ in range(3)] == [MOUNT] * 3
    assert warnings.asked == 1
    warnings.warnings = []
    assert obstacles.why_not(SILENT, SILENT_FOR_S + ASK_EVERY_S) == ""


def test_a_pod_that_started_is_forgotten():
    obstacles = StartObstacles(Warnings(MOUNT))
    obstacles.why_not(SILENT, 0.0)
    assert obstacles.why_not(SILENT, SILENT_FOR_S) == MOUNT
    assert obstacles.why_not(RUNS, SILENT_FOR_S) == ""
    assert obstacles.why_not(SILENT, SILENT_FOR_S) == ""  # its clock starts anew


@pytest.mark.parametrize(
    "warning", ["FailedScheduling: 0/2 nodes", "MissingClusterDNS: falling back", "Unhealthy: x"]
)
def test_a_warning_of_what_is_over_or_no_obstacle_is_left_out(warning):
    obstacles = StartObstacles(Warnings(MOUNT, warning))
    obstacles.why_not(SILENT, 0.0)
    assert obstacles.why_not(SILENT, SILENT_FOR_S) == MOUNT
