"""What can't be used is refused with a precise answer; nothing is stored for it, nothing runs."""

import base64
import json
import os

import httpx
import pytest

from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.quotas import Quota
from tests.brokers import broker
from tests.gated import sweep
from tests.scheduler.broker.announcements import announced


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home"), fits=100, upload_bytes=2**20) as running:
        yield running


@pytest.fixture(scope="module")
def prepared():
    return sweep().prepare()


class Asks:
    def __init__(self, there, user):
        self.there, self.user = there, user
        headers = {"Authorization": f"Bearer {there.token(user)}"}
        self.client = httpx.Client(base_url=f"{there.url}/v1", headers=headers, timeout=60.0)

    def create(self, body, key="a-key"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post("/workflows", content=data, headers={"Idempotency-Key": key})

    def send(self, workflow_id, data, offset=0, upload="sweep"):
        path = f"/workflows/{workflow_id}/uploads/{upload}"
        return self.client.patch(path, content=data, headers={"Upload-Offset": str(offset)})

    def stored(self):
        return self.there.store.workflows(self.there.store.user(self.user).user_id)


@pytest.fixture
def ask(there, request):
    return Asks(there, f"user-{abs(hash(request.node.name))}")


def refused(answer, status, code, *words):
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert told["code"] == code
    for word in words:
        assert word in told["message"]
    return told["message"]


DEEP = b'{"a":' * 100_000


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", DEEP, b"{}", b'{"key": 3}']
)
def test_a_body_that_is_no_announcement(ask, body):
    refused(ask.create(body), 422, "invalid")
    assert ask.stored() == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"workflow_id": "../../etc"}, "workflow_id"),
        ({"workflow_id": 7}, "workflow_id"),
        ({"key": "AAAA"}, "key"),
        ({"key": base64.b64encode(31 * b"k").decode()}, "key"),
        ({"priority": 101}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"unknown": 1}, "unknown"),
        ({"dataset": {}}, "dataset"),
    ],
)
def test_a_value_that_cannot_be_is_named_and_no_key_is_told(ask, prepared, changes, word):
    body = announced(prepared, **changes)
    said = refused(ask.create(body), 422, "invalid", word)
    assert base64.b64encode(32 * b"k").decode() not in said
    assert str(changes.get("key", "no key")) not in said
    assert ask.stored() == []


def test_what_is_too_large_is_refused_before_it_is_expanded(ask, prepared):
    body = announced(prepared)
    body["submission"]["candidates"] = 30 * body["submission"]["candidates"]
    answer = ask.create(body)
    refused(answer, 413, "too_large", "180 fits")
    assert "Retry-After" not in answer.headers  # it would be no smaller then
    body = announced(prepared)
    body["dataset"]["sealed_bytes"] = 2**21
    refused(ask.create(body), 413, "too_large", "2,097,152 bytes")
    assert ask.stored() == []


def test_a_submission_of_a_newer_layout_or_a_damaged_one(ask, prepared):
    body = announced(prepared)
    body["submission"]["schema"] = 99
    refused(ask.create(body), 409, "cannot_be_resumed", "layout 99")
    body = announced(prepared)
    body["submission"]["rows"] = "many"
    refused(ask.create(body), 409, "cannot_be_resumed", "damaged")
    assert ask.stored() == []


def test_the_same_request_again_and_another_with_its_key(ask, prepared):
    body = announced(prepared)
    first = ask.create(body)
    assert first.status_code == 201, first.text
    assert ask.create(body).json()["workflow_id"] == first.json()["workflow_id"]
    refused(ask.create(announced(prepared)), 409, "idempotency")
    assert len(ask.stored()) == 1


def test_a_quota_is_told_with_what_to_do(ask, prepared):
    ask.there.store.set_user(ask.user, quota=Quota(queued_fits=8))
    assert ask.create(announced(prepared), "one").status_code == 201
    refused(ask.create(announced(prepared), "two"), 429, "limit", "quota", "cancel one")


def test_what_is_wrong_with_the_place_is_told_without_its_places(there, ask, prepared, caplog):
    keys = there.home / "broker" / "keys.json"
    keys.rename(keys.with_suffix(".away"))
    keys.touch(mode=0o644)  # that others may read
    try:
        said = refused(ask.create(announced(prepared)), 500, "key", "tell who runs it")
    finally:
        keys.with_suffix(".away").rename(keys)
    assert str(there.home) not in said
    assert str(keys) in caplog.text


def test_uploads_go_on_from_where_they_are(ask, prepared):
    body = announced(prepared)
    workflow_id = ask.create(body).json()["workflow_id"]
    assert ask.send(workflow_id, 100 * b"x").json() == {"received": 100}
    refused(ask.send(workflow_id, 10 * b"y", offset=0), 409, "upload", "100 bytes")
    refused(ask.send(workflow_id, 10 * b"y", offset=150), 409, "upload", "100 bytes")
    refused(ask.send(workflow_id, 200 * b"z", offset=100), 413, "too_large", "200 bytes")
    assert ask.client.get(f"/workflows/{workflow_id}/uploads/sweep").json()["received"] in (
        100,
        200,
    )
    refused(ask.client.post(f"/workflows/{workflow_id}/commit"), 409, "upload", "of 200 bytes")
    refused(ask.send(workflow_id, b"x", upload="elsewhere"), 422, "invalid_request")
    refused(ask.send(workflow_id, b"x", offset=-1), 422, "invalid_request")


def test_what_was_altered_on_the_way_never_waits_in_the_queue(ask, prepared):
    body = announced(prepared)
    workflow_id = ask.create(body).json()["workflow_id"]
    for upload in ("sweep", "dataset"):
        assert ask.send(workflow_id, os.urandom(200), upload=upload).status_code == 200
    refused(ask.client.post(f"/workflows/{workflow_id}/commit"), 422, "altered")
    (row,) = ask.stored()
    assert row.state is State.UPLOADING


@pytest.mark.parametrize(
    "name", ["lock", "submission.json", "key", "..%2F..%2Fbroker%2Fkeys.json", "dataset.sealed"]
)
def test_only_results_are_files_that_can_be_fetched(ask, prepared, name):
    workflow_id = ask.create(announced(prepared)).json()["workflow_id"]
    answer = ask.client.get(f"/workflows/{workflow_id}/files/{name}")
    assert answer.status_code == 404


def test_ids_lead_nowhere_else(ask):
    for name in ("..", "%2e%2e", "x" * 300, "a/b", "\N{SNOWMAN}"):
        answer = ask.client.get(f"/workflows/{name}")
        assert answer.status_code in (404, 409, 422, 200), name
        if answer.status_code == 200:  # `..` is taken out by the client: it asked for the list
            assert "workflows" in answer.json() or "paths" in answer.json()
