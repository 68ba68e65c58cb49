import signal
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.fitting import Fitted
from fitcast.trainer.attempt.messages import Ending, Report
from fitcast.trainer.attempt.outcomes import judge
from fitcast.trainer.attempt.result_block import UnreadableReport


@given(
    st.sampled_from(["", "memory", "room", "deadline", "cancel", "lost"]),
    st.integers(-64, 255),
    st.booleans(),
    st.none() | st.builds(Report, out_of_memory=st.booleans(), error_type=st.just("E")),
)
def test_more_memory_or_time_only_with_proof(killed_for, exit_code, kernel, report):
    now = datetime.now(UTC)
    ending = Ending(
        killed_for=killed_for,
        exit_code=exit_code,
        kernel_out_of_memory=kernel,
        began_s=10.0,
        ended_s=11.0,
        cpu_s=1.0,
        peak_memory_bytes=1,
        base_memory_bytes=1,
        started_at=now,
        tree_peaks={},
    )
    (measured,) = judge(ending, [] if report is None else [report])
    allocation_failed = report is not None and report.out_of_memory
    by_kernel = kernel and exit_code == -signal.SIGKILL
    if measured.outcome is Outcome.OUT_OF_MEMORY:
        assert killed_for in ("memory", "room") or allocation_failed or by_kernel
    if measured.outcome is Outcome.OUT_OF_TIME:
        assert killed_for == "deadline"
    if killed_for == "cancel":
        assert measured.outcome is Outcome.CANCELLED
    assert measured.outcome is not Outcome.SUCCEEDED
    assert measured.outcome is Outcome.CANCELLED or measured.error_type


def ending(**facts):
    known = {
        "began_s": 10.0,
        "ended_s": 20.0,
        "cpu_s": 9.0,
        "peak_memory_bytes": 300,
        "base_memory_bytes": 100,
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "tree_peaks": {},
    }
    return Ending(**(known | facts))


def done(ended_s, peak=200):
    fitted = Fitted(fit_time_s=0.1, scores={"score": 1.0})
    return Report(fitted=fitted, ended_s=ended_s, cpu_s=1.0, peak_memory_bytes=peak)


def outcomes(measured):
    return [None if one is None else one.outcome for one in measured]


def test_fits_of_a_process_follow_each_other_without_a_gap():
    measured = judge(ending(last_turn=2), [done(12.0), done(15.0), done(19.0)], 3)
    assert outcomes(measured) == [Outcome.SUCCEEDED] * 3
    assert [one.runtime_s for one in measured] == [2.0, 3.0, 5.0]
    assert measured[0].ended_at == measured[1].started_at
    assert [one.peak_memory_bytes for one in measured] == [200, 200, 300]


def test_whose_turn_it_was_when_the_process_ended_is_to_blame_and_no_other():
    measured = judge(ending(last_turn=1, exit_code=-signal.SIGSEGV), [done(12.0)], 4)
    assert outcomes(measured) == [Outcome.SUCCEEDED, Outcome.FAILED, None, None]
    assert measured[1].runtime_s == 8.0


def test_a_limit_passed_by_one_that_ended_meanwhile_blames_nobody():
    killed = ending(last_turn=1, killed_for="deadline", killed_turn=0, exit_code=-signal.SIGKILL)
    assert outcomes(judge(killed, [done(19.0)], 3)) == [Outcome.SUCCEEDED, None, None]


def test_what_is_given_back_has_no_outcome():
    assert outcomes(judge(ending(last_turn=1), [done(12.0), done(15.0)], 4)) == [
        Outcome.SUCCEEDED,
        Outcome.SUCCEEDED,
        None,
        None,
    ]


def test_a_result_that_cannot_be_read_fails_its_fit_alone():
    reports = [done(12.0), UnreadableReport(ValueError("what class?")), done(15.0)]
    measured = judge(ending(last_turn=2), reports, 3)
    assert outcomes(measured) == [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SUCCEEDED]
    assert "what class?" in measured[1].error_message


def test_the_one_that_overfilled_the_worker_is_out_of_memory():
    killed = ending(killed_for="room", killed_turn=0, exit_code=-signal.SIGKILL)
    (one,) = judge(killed, [])
    assert one.outcome is Outcome.OUT_OF_MEMORY
    assert "furthest above" in one.error_message
