"""Small workflows come in one request, sealed files and all: whole, or not at all."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from fitcast import Client
from fitcast.errors import LimitError, StoreError
from fitcast.scheduler.broker.announcement import MOST_INLINE_BYTES
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.session.remote.submitting import new_workflow_id, seal_into
from fitcast.trainer.sealing import new_key
from fitcast.trainer.surroundings import surroundings
from fitcast.trainer.sweep.submission_file import to_json
from fitcast.version import __version__
from tests.brokers import broker
from tests.gated import sweep
from tests.polling import wait_for


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def body(tmp_path):
    prepared = sweep().prepare()
    workflow_id, key = new_workflow_id(), new_key()
    paths, sealed = seal_into(tmp_path, workflow_id, prepared, surroundings(), key)

    def told(name):
        return {
            "dataset_id": sealed[name].dataset_id,
            "plaintext_bytes": sealed[name].plaintext_bytes,
            "sealed_bytes": sealed[name].sealed_bytes,
            "sealed_sha256": sealed[name].sealed_sha256,
            "content": base64.b64encode(paths[name].read_bytes()).decode(),
        }

    return {
        "workflow_id": workflow_id,
        "version": __version__,
        "submission": json.loads(json.dumps(to_json(prepared.submission))),
        "key": base64.b64encode(key).decode(),
        "dataset": told("dataset"),
        "sweep": told("sweep"),
    }


def sent(there, token, body, key="k"):
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"{body['workflow_id']}{key}"}
    content = json.dumps(body)
    return httpx.post(f"{there.url}/v1/workflows", content=content, headers=headers, timeout=60.0)


def ends(there, body):
    return wait_for(lambda: there.store.get(body["workflow_id"]).state.is_terminal)


def test_one_request_queues_it(there, body):
    answer = sent(there, there.token("ann"), body)
    assert (answer.status_code, answer.json()["state"]) == (201, "queued")
    states = [
        event.data["state"]
        for event in there.store.events_after(0, workflow_id=body["workflow_id"])
        if event.kind == "state"
    ]
    assert states[0] == State.QUEUED
    assert ends(there, body)
    assert there.store.get(body["workflow_id"]).state is State.SUCCEEDED


def test_the_same_again_changes_nothing(there, body):
    token = there.token("ann")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: sent(there, token, body), range(4)))
    assert {answer.status_code for answer in answers} == {201}
    assert ends(there, body)
    again = sent(there, token, body)
    assert again.json()["state"] == "succeeded"
    other = sent(there, token, body, "another")
    assert other.status_code == 409


def test_the_same_again_is_not_forecast_again(there, body, monkeypatch):
    token = there.token("ann")
    first = sent(there, token, body)

    def forecast_again(*_):
        raise AssertionError

    monkeypatch.setattr(Service, "_forecast", forecast_again)
    assert sent(there, token, body).json()["workflow_id"] == first.json()["workflow_id"]


def test_altered_content_is_refused_and_nothing_stays(there, body):
    content = bytearray(base64.b64decode(body["dataset"]["content"]))
    content[len(content) // 2] ^= 1
    body["dataset"]["content"] = base64.b64encode(bytes(content)).decode()
    answer = sent(there, there.token("ann"), body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "altered"
    assert there.store.known([body["workflow_id"]]) == set()
    assert not (there.home / "workflows" / body["workflow_id"]).exists()


@pytest.mark.parametrize("content", ["no base64!", "", 7, None])
def test_odd_content(there, body, content):
    body["sweep"]["content"] = content
    answer = sent(there, there.token("ann"), body)
    if content is None:  # then both are to be uploaded
        assert answer.json()["state"] == "preparing"
    else:
        assert answer.status_code == 422
        assert "sweep.content" in answer.json()["error"]["message"]


def test_too_long_content(there, body):
    body["sweep"]["content"] = base64.b64encode(bytes(MOST_INLINE_BYTES + 1)).decode()
    assert sent(there, there.token("ann"), body).status_code == 422


def test_a_quota_leaves_nothing_behind(there, body):
    token = there.token("small")
    there.store.set_user("small", quota=Quota(stored_bytes=10))
    with pytest.raises(LimitError), Client(there.url, token=token) as client:
        client.submit(sweep())
    assert sent(there, token, body).status_code == 429
    assert not (there.home / "workflows" / body["workflow_id"]).exists()


def test_a_full_disk_leaves_nothing_behind(there, body, monkeypatch):
    def full(*_):
        raise StoreError("the platform's disk is full")

    monkeypatch.setattr("fitcast.scheduler.broker.files.WorkflowFiles.complete", full)
    assert sent(there, there.token("ann"), body).status_code == 507
    assert there.store.known([body["workflow_id"]]) == set()
    assert not (there.home / "workflows" / body["workflow_id"]).exists()
