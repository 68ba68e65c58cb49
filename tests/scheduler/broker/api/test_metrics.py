"""What Prometheus is told, as its own parser reads it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from fitcast import Client, Outcome, Record, Request
from fitcast.scheduler.broker.announcement import Caps
from fitcast.scheduler.broker.api.metrics import Metrics, wasted_gb_hours
from fitcast.scheduler.broker.files import WorkflowFiles
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.store import NewWorkflow
from tests.brokers import broker
from tests.gated import sweep
from tests.polling import wait_for

GB = 10**9
REQUEST = Request(
    algorithm="m",
    params={},
    rows_train=8,
    rows_test=2,
    columns=1,
    nonzeros=10,
    data_bytes=80,
    dtype="float64",
    target="binary",
    classes=2,
)
NAME = "a name that is nobody else's business"


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home"), running=1) as running:
        yield running


@pytest.fixture(scope="module")
def boss(there):
    return there.token("boss", "read", is_admin=True)


def told(there, token):
    """Return the samples, by name and labels."""
    answer = httpx.get(f"{there.url}/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parsed(answer.text)
        for sample in family.samples
    }


def test_a_workflow_is_seen_queued_running_and_ended(there, boss, tmp_path):
    gate = tmp_path / "gate"
    before = told(there, boss)
    with (
        Client(there.url, token=there.token("anna"), home=tmp_path / "anna") as anna,
        Client(there.url, token=there.token("berta"), home=tmp_path / "berta") as berta,
    ):
        searches = [sweep(gate), sweep(gate)]
        for search in searches:
            search.name = NAME
        first = anna.submit(searches[0])
        assert wait_for(lambda: ran(told(there, boss)) == 2)
        second = berta.submit(searches[1])
        assert wait_for(lambda: states(told(there, boss)) == (0, 1, 1))
        now = told(there, boss)
        assert now["fitcast_pool_cpus", ("pool", "two")] == 2
        assert now["fitcast_pool_workers", ("pool", "two")] == 2
        assert now["fitcast_pool_used_cpus", ("pool", "two")] == 2
        assert now["fitcast_pool_used_memory_bytes", ("pool", "two")] > 0
        assert now[("fitcast_queue_mean_wait_seconds",)] > 0
        assert (
            now[("fitcast_queue_mean_wait_seconds",)]
            <= (now[("fitcast_queue_longest_wait_seconds",)])
        )
        assert wait_for(lambda: told(there, boss)[("fitcast_used_cpus",)] == 2)
        assert now[("fitcast_upload_bytes_total",)] > before[("fitcast_upload_bytes_total",)]
        gate.touch()
        for workflow in (first, second):
            workflow.result()
    ended = ("fitcast_workflows_ended_total", ("state", "succeeded"))
    assert wait_for(lambda: told(there, boss)[ended] == 2)
    after = told(there, boss)
    assert states(after) == (0, 0, 0)
    assert after[("fitcast_eta_ratio_count",)] == 2
    within = [after["fitcast_eta_within_total", ("within", one)] for one in ("yes", "no")]
    assert sum(within) == 2
    assert after[("fitcast_wasted_memory_gigabyte_hours_total",)] > 0
    assert after[("fitcast_queue_longest_wait_seconds",)] == 0


def ran(samples):
    return samples["fitcast_running_fits", ("pool", "two")]


def states(samples):
    return tuple(
        samples["fitcast_workflows", ("state", state)]
        for state in ("uploading", "queued", "running")
    )


def test_no_label_names_anybody_or_what_they_asked_for(there, boss):
    token = there.token("anna")
    headers = {"Authorization": f"Bearer {token}"}
    httpx.get(f"{there.url}/v1/workflows/20260101-secret", headers=headers)
    httpx.get(f"{there.url}/made/up/secret", headers=headers)
    httpx.request("BREW-secret", f"{there.url}/healthz")
    samples = told(there, boss)
    values = {value for sample in samples for _, value in sample[1:]}
    assert not {value for value in values if "secret" in value or NAME in value}
    assert not values & {"anna", "berta", "boss"}
    assert "/v1/workflows/{workflow_id}" in values
    assert "unmatched" in values


def test_requests_are_counted_by_route_and_status(there, boss):
    key = (
        "fitcast_http_requests_total",
        ("method", "GET"),
        ("route", "/healthz"),
        ("status", "200"),
    )
    before = told(there, boss).get(key, 0.0)
    for _ in range(3):
        httpx.get(f"{there.url}/healthz")
    after = told(there, boss)
    assert after[key] == before + 3
    seconds = ("fitcast_http_request_seconds_count", ("method", "GET"), ("route", "/healthz"))
    assert after[seconds] >= 3


def test_they_are_for_administrators_unless_they_are_open(there, boss, tmp_path):
    address = f"{there.url}/metrics"
    for token, status in ((there.token("anna"), 403), ("forged", 401), (boss, 200)):
        answer = httpx.get(address, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status
    assert httpx.get(address).status_code == 401
    with broker(tmp_path, metrics_open=True) as opened:
        assert httpx.get(f"{opened.url}/metrics").status_code == 200


def service_of(there):
    files = WorkflowFiles(there.home / "workflows")
    return Service(there.store, None, files, there.engine, Caps())


def test_two_applications_count_for_themselves(there):
    one, other = Metrics(service_of(there)), Metrics(service_of(there))
    one.upload_bytes.inc(5)
    assert one.upload_bytes._value.get() == 5
    assert other.upload_bytes._value.get() == 0


def record(peak, limit, runtime_s):
    now = datetime.now(UTC)
    return Record(
        record_id="r",
        workflow_id="w",
        workflow_name="w",
        dataset="d",
        candidate="c",
        candidate_index=0,
        fold=0,
        attempt=1,
        request=REQUEST,
        estimate=None,
        outcome=Outcome.SUCCEEDED,
        runtime_s=runtime_s,
        cpu_s=1.0,
        peak_memory_bytes=peak,
        base_memory_bytes=None,
        memory_limit_bytes=limit,
        deadline_s=None,
        pool="p",
        worker="w",
        host="h",
        started_at=now,
        ended_at=now,
    )


def test_wasted_memory_is_what_was_given_and_not_used_for_as_long_as_it_was():
    records = [
        record(1 * GB, 3 * GB, 1800.0),  # 2 GB for half an hour
        record(4 * GB, 3 * GB, 3600.0),  # more than it was given: nothing was wasted
        record(None, 3 * GB, 3600.0),  # not measured
    ]
    assert wasted_gb_hours(records) == pytest.approx(1.0)


def judged(store, workflow_id):
    """Take a workflow in that was forecast to take 5, 10, 20 s; return its row."""
    user = store.add_user(workflow_id)
    new = NewWorkflow(
        workflow_id=workflow_id,
        name=NAME,
        fits_total=1,
        demand=Demand(cpu_s=1.0, memory_byte_s=1.0, gpu_s=0.0, most=Resources(1.0, 1.0)),
        forecast_s=(5.0, 10.0, 20.0),
        dataset_bytes=0,
        dataset_sha256="",
        sweep_bytes=0,
        sweep_sha256="",
        wrapped_key=b"k",
        key_version="1",
        request_sha256="judged",
    )
    return store.add(user.user_id, new)


def test_a_forecast_is_judged_by_the_time_from_the_queue_to_the_end(there):
    row = judged(there.store, "judged-1")
    metrics = Metrics(service_of(there))
    began = datetime.now(UTC)
    for state, took_s in ((State.SUCCEEDED, 15.0), (State.SUCCEEDED, 30.0), (State.FAILED, 1.0)):
        metrics.note_end(ended(row, state, began, took_s), ())
    value = metrics.eta_ratio._sum.get()
    assert value == pytest.approx(1.5 + 3.0)  # what failed says nothing of the forecast
    assert metrics.eta_within.labels("yes")._value.get() == 1
    assert metrics.eta_within.labels("no")._value.get() == 1


def test_a_forecast_with_the_wait_is_judged_from_the_announcement_on(there):
    service = service_of(there)
    row = judged(there.store, "judged-2")
    folder = service.files.folder("judged-2").path
    folder.mkdir(parents=True)
    service.files.folder("judged-2").note_forecast((50.0, 100.0, 150.0))
    metrics = Metrics(service)
    row = replace(row, created_at=datetime.now(UTC))
    metrics.note_end(ended(row, State.SUCCEEDED, row.created_at, 120.0), ())
    assert metrics.eta_ratio._sum.get() == pytest.approx(1.2)
    assert metrics.eta_within.labels("yes")._value.get() == 1


def ended(row, state, began, took_s):
    return replace(row, state=state, queued_at=began, ended_at=began + timedelta(seconds=took_s))
