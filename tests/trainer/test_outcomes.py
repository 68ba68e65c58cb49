import signal
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from fitcast.history.records import Outcome
from fitcast.trainer.messages import Ending, Report
from fitcast.trainer.outcomes import judge


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
