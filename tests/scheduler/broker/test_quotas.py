from fitcast.scheduler.broker.quotas import Quota, why_not_run, why_not_submitted
from fitcast.scheduler.broker.resources import Resources


def submit(quota, **changed):
    counts = {"queued_fits": 10, "stored_bytes": 100, "more_fits": 5, "more_bytes": 50} | changed
    return why_not_submitted(quota, **counts)


def test_no_quota_is_no_limit():
    assert submit(Quota()) == ""
    assert why_not_run(Quota(), Resources(1e9, 1e18)) == ""


def test_what_is_too_much_is_told_with_what_to_do():
    assert submit(Quota(queued_fits=15, stored_bytes=150)) == ""
    assert "wait for workflows to end" in submit(Quota(queued_fits=14))
    assert "submit it in parts" in submit(Quota(queued_fits=4))
    assert "remove workflows" in submit(Quota(stored_bytes=149))
    assert "smaller dataset" in submit(Quota(stored_bytes=49))


def test_what_runs_is_bounded_too():
    quota = Quota(running_cpus=8.0, running_memory_bytes=100)
    assert why_not_run(quota, Resources(7.0, 50.0)) == ""
    assert "8 CPUs" in why_not_run(quota, Resources(8.0))
    assert "100 bytes" in why_not_run(quota, Resources(1.0, 90.0), Resources(1.0, 20.0))
