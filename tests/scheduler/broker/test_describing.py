"""Described sweeps: prepared by a worker, run like any other, and nothing more than that."""

import json

import httpx
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from fitcast import Client, Pool
from fitcast.errors import ForbiddenError
from fitcast.scheduler.broker.lifecycle import State
from tests.brokers import broker
from tests.gated import sweep as small_sweep
from tests.polling import wait_for
from tests.scheduler.broker.announcements import announced

MIB = 2**20
LOGISTIC = {
    "class": "sklearn.linear_model.LogisticRegression",
    "params": {"max_iter": 500},
    "grid": {"C": [0.1, 1.0]},
}
POOLS = [Pool("two", cpus=1, memory_bytes=800 * MIB, workers=2)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "iris.csv"
    load_iris(as_frame=True).frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def there(data, tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home"), POOLS, data=(str(data.parent),)) as running:
        yield running


@pytest.fixture
def told(data):
    return {"models": {"lr": LOGISTIC}, "data": str(data), "target": "target", "cv": 3}


def asked(there, token, method, path, **given):
    headers = {"Authorization": f"Bearer {token}"} | given.pop("headers", {})
    return httpx.request(method, f"{there.url}{path}", headers=headers, timeout=60.0, **given)


def handed_in(there, token, told, **headers):
    return asked(there, token, "POST", "/v1/sweeps", json=told, headers=headers)


def ended(there, token, workflow_id):
    def told():
        return asked(there, token, "GET", f"/v1/workflows/{workflow_id}").json()

    assert wait_for(lambda: told()["is_over"])
    return told()


def test_it_gives_what_grid_search_gives(there, told, data):
    token = there.token("ann")
    answer = handed_in(there, token, {**told, "name": "by curl", "priority": 3})
    assert answer.status_code == 201, answer.text
    workflow_id = answer.json()["workflow_id"]
    assert answer.json()["state"] == "preparing"
    assert "worker prepares it" in answer.json()["notes"][0]
    over = ended(there, token, workflow_id)
    assert (over["state"], over["error"]) == ("succeeded", None)
    assert (over["workflow_name"], over["priority"]) == ("by curl", 3)
    frame = pd.read_csv(data)
    X, y = frame.drop(columns="target"), frame["target"]
    search = GridSearchCV(LogisticRegression(max_iter=500), LOGISTIC["grid"], cv=3).fit(X, y)
    with Client(there.url, token=token) as client:
        result = client.workflow(workflow_id).result()
        assert list(result.cv_results_["mean_test_score"]) == list(
            search.cv_results_["mean_test_score"]
        )
        assert (result.best_estimator_.predict(X) == search.predict(X)).all()
        assert [one.id for one in client.workflows()] == [workflow_id]
    preparation = there.store.preparation_of(workflow_id)
    assert preparation.state is State.SUCCEEDED
    removed = asked(there, token, "DELETE", f"/v1/workflows/{workflow_id}")
    assert removed.status_code == 204
    assert there.store.preparation_of(workflow_id) is None
    left = {path.name for path in (there.home / "workflows").iterdir()}
    assert not left & {workflow_id, preparation.workflow_id}


def test_what_a_worker_finds_wrong_is_told(there, told):
    token = there.token("ann")
    workflow_id = handed_in(there, token, {**told, "target": "nope"}).json()["workflow_id"]
    over = ended(there, token, workflow_id)
    assert over["state"] == "failed"
    assert over["error"]["type"] == "InvalidDataError"
    assert over["error"]["message"].startswith("'")
    assert "has no column 'nope'" in over["error"]["message"]


def test_the_same_request_gives_the_same_workflow(there, told):
    token = there.token("ann")
    first = handed_in(there, token, told, **{"Idempotency-Key": "k1"}).json()
    again = handed_in(there, token, told, **{"Idempotency-Key": "k1"}).json()
    assert first["workflow_id"] == again["workflow_id"]
    other = handed_in(there, token, {**told, "cv": 2}, **{"Idempotency-Key": "k1"})
    assert other.json()["error"]["code"] == "idempotency"
    ended(there, token, first["workflow_id"])


def test_one_that_is_cancelled_is_not_prepared_any_more(there, told):
    token = there.token("ann")
    workflow_id = handed_in(there, token, told).json()["workflow_id"]
    answer = asked(there, token, "POST", f"/v1/workflows/{workflow_id}/cancel")
    assert answer.json()["state"] == "cancelled"
    assert wait_for(lambda: there.store.preparation_of(workflow_id).state.is_terminal)
    assert ended(there, token, workflow_id)["state"] == "cancelled"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"data": "/etc/passwd"}, "invalid"),
        ({"models": {"x": {"class": "os.system"}}}, "invalid"),
        ({"models": {}}, "invalid"),
        ({"priority": 1000}, "invalid"),
        ({"priority": True}, "invalid"),
        (
            {"cv": 500, "models": {"lr": {**LOGISTIC, "grid": {"C": list(range(1000))}}}},
            "too_large",
        ),
    ],
)
def test_what_may_not_be_is_refused_and_nothing_is_stored(there, told, changed, code):
    token = there.token("bob")
    answer = handed_in(there, token, told | changed)
    assert answer.status_code in (413, 422), answer.text
    assert answer.json()["error"]["code"] == code
    assert asked(there, token, "GET", "/v1/workflows").json()["workflows"] == []


def test_commit_of_what_is_only_described_is_refused(there, told):
    token = there.token("ann")
    workflow_id = handed_in(there, token, told).json()["workflow_id"]
    answer = asked(there, token, "POST", f"/v1/workflows/{workflow_id}/commit")
    # unless it was announced by now, and is uploaded or even queued
    assert answer.status_code in (200, 409), answer.text
    assert ended(there, token, workflow_id)["state"] == "succeeded"


def test_the_token_of_a_preparation_does_nothing_else(there):
    there.token("cyd")
    body = announced(small_sweep().prepare())
    mine = there.store.create_token("cyd", "20260101-000000-" + 32 * "a", {"prepare"})[1]
    headers = {"Idempotency-Key": "x"}
    for method, path in (
        ("GET", "/v1/workflows"),
        ("GET", "/v1/about"),
        ("POST", "/v1/estimates"),
        ("POST", "/v1/sweeps"),
        ("GET", "/v1/status"),
    ):
        assert asked(there, mine, method, path, headers=headers).status_code == 403, path
    other = asked(there, mine, "POST", "/v1/workflows", json=body, headers=headers)
    assert other.status_code == 404
    unknown = body | {"workflow_id": "20260101-000000-" + 32 * "a"}
    answer = asked(there, mine, "POST", "/v1/workflows", json=unknown, headers=headers)
    assert answer.status_code == 404  # it makes no workflow that nobody described
    theirs = f"/v1/workflows/{body['workflow_id']}/uploads/sweep"
    assert asked(there, mine, "GET", theirs).status_code == 404


def test_an_operator_can_forbid_what_was_pickled(data, told, tmp_path):
    with broker(tmp_path / "home", POOLS, data=(str(data.parent),), pickled=False) as there:
        token = there.token("ann")
        with Client(there.url, token=token) as client, pytest.raises(ForbiddenError, match="JSON"):
            client.submit(small_sweep())
        assert there.store.workflows() == []
        workflow_id = handed_in(there, token, told).json()["workflow_id"]
        assert ended(there, token, workflow_id)["state"] == "succeeded"


def test_without_a_place_for_data_none_is_taken(tmp_path, told):
    with broker(tmp_path / "home", POOLS) as there:
        answer = handed_in(there, there.token("ann"), told)
        assert answer.status_code == 403
        assert "operator" in answer.json()["error"]["message"]


def test_the_description_is_in_no_log_and_no_record(there, told, caplog):
    token = there.token("ann")
    secret = json.loads(json.dumps(told))
    secret["models"] = {"hidden-model-name": LOGISTIC}
    workflow_id = handed_in(there, token, secret).json()["workflow_id"]
    ended(there, token, workflow_id)
    preparation = there.store.preparation_of(workflow_id)
    run = there.engine.run(preparation.workflow_id)
    recorded = repr(run.view().records) if run is not None else ""
    assert "hidden-model-name" not in recorded
    assert "hidden-model-name" not in caplog.text
    folder = there.home / "workflows" / preparation.workflow_id
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"hidden-model-name" not in path.read_bytes(), path
