"""Every route for everybody: made from the API's own description, so none can be left out."""

from datetime import UTC, datetime, timedelta
from itertools import product

import httpx
import pytest

from fitcast.scheduler.broker.announcement import Caps
from fitcast.scheduler.broker.api.app import broker_app
from fitcast.scheduler.broker.service import Service
from tests.brokers import broker
from tests.gated import sweep
from tests.scheduler.broker.announcements import announced

OPEN = {"/healthz", "/readyz"}
ADMINS = {"/v1/users", "/v1/audit", "/metrics"}
PAGES = {"/", "/docs", "/openapi.json"}
FILES = {"/static", "/swagger"}
CALLERS = ("owner", "other", "reader", "admin", "anonymous", "forged", "revoked", "expired")


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home"), data=("/nowhere",)) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(there):
    store = there.store
    owner = there.token("owner")
    admin = there.token("boss", "read", "submit", "admin", is_admin=True)
    past = datetime.now(UTC) - timedelta(seconds=5)
    revoked, secret = store.create_token("owner", "gone", ("read", "submit"))
    store.revoke_token(revoked.token_id)
    return {
        "owner": owner,
        "other": there.token("other"),
        "reader": there.token("owner", "read"),
        "admin": admin,
        "anonymous": None,
        "forged": owner[:-4] + "AAAA",
        "revoked": secret,
        "expired": store.create_token("owner", "past", ("read", "submit"), past)[1],
    }


@pytest.fixture(scope="module")
def workflow_id(there, tokens):
    """One that was announced and not uploaded, so that it stays as it is."""
    body = announced(sweep().prepare())
    headers = {"Authorization": f"Bearer {tokens['owner']}", "Idempotency-Key": "once"}
    answer = httpx.post(f"{there.url}/v1/workflows", json=body, headers=headers, timeout=60.0)
    assert answer.status_code == 201, answer.text
    return body["workflow_id"]


@pytest.fixture(scope="module")
def routes(there):
    told = httpx.get(f"{there.url}/openapi.json").json()
    return [
        (method.upper(), path, route)
        for path, methods in told["paths"].items()
        for method, route in methods.items()
    ]


def test_every_route_answers_everybody_as_it_should(there, tokens, workflow_id, routes):
    assert len(routes) > 15
    wrong = []
    # what removes comes last, as the owner may
    ordered = sorted(routes, key=lambda one: (one[0] == "DELETE", "cancel" in one[1]))
    for (method, path, route), caller in product(ordered, CALLERS[::-1]):
        answer = _asked(there.url, method, path, workflow_id, tokens[caller])
        if answer.status_code not in _expected(method, path, route, caller):
            wrong.append(f"{method} {path} as {caller}: {answer.status_code} {answer.text[:200]}")
        sees_all = caller == "admin" and path == "/v1/status"
        if caller not in ("owner", "reader") and path not in OPEN and not sees_all:
            assert workflow_id not in answer.text or "there is no workflow" in answer.text
    assert not wrong, "\n".join(wrong)


def _expected(method, path, route, caller):
    if path in OPEN:
        return {200}
    if path == "/session":  # by what is in it, whoever sends it
        return {422} if method == "POST" else {204}
    if caller in ("anonymous", "forged", "revoked", "expired"):
        return {401}
    if path in ADMINS:
        return {200} if caller == "admin" else {403}
    if caller == "reader" and _needs_submit(method, path):
        return {403}
    if "{workflow_id}" in path and caller in ("other", "admin"):
        return {404}
    if "{name}" in path or path == "/workflows/{workflow_id}/mlflow":
        return {404}  # there is no such file, and no MLflow
    # What a good caller gets depends on what was sent, which is next to nothing: never a refusal
    # of the caller, and never a failure of the platform.
    return {200, 201, 204, 400, 409, 422}


def _needs_submit(method, path):
    return (
        method in ("PATCH", "DELETE")
        or (method == "POST" and path != "/v1/estimates")
        or path.endswith("/key")
        or "/uploads/" in path
    )


def _asked(url, method, path, workflow_id, token):
    place = path.format(workflow_id=workflow_id, upload="sweep", name="00000001-" + 16 * "0")
    headers = {"Idempotency-Key": "twice", "Upload-Offset": "0"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = {"content": b"{}"} if method in ("POST", "PATCH") else {}
    if path.endswith("/events"):  # which would go on for minutes
        headers["Last-Event-ID"] = str(2**62)
        with httpx.stream(method, url + place, headers=headers, timeout=30.0) as answer:
            text = "" if answer.status_code == 200 else answer.read().decode()
            return httpx.Response(answer.status_code, text=text)
    return httpx.request(method, url + place, headers=headers, timeout=60.0, **body)


def test_what_the_description_leaves_out_are_pages_and_their_files(there, routes):
    """So that no route can be left out of the test above by leaving it out of the description."""
    described = {path for _, path, _ in routes}
    service = Service(there.store, None, None, there.engine, Caps())
    found = set(_paths(broker_app(service).routes))
    assert found - described == PAGES | FILES


def _paths(routes):
    for route in routes:
        if hasattr(route, "original_router"):  # as newer FastAPIs hold what was included
            yield from _paths(route.original_router.routes)
        else:
            yield route.path


def test_a_cookie_opens_what_is_only_read(there, tokens):
    cookies = {"fitcast_token": tokens["owner"]}
    assert httpx.get(f"{there.url}/v1/about", cookies=cookies, timeout=60.0).status_code == 200
    assert httpx.post(f"{there.url}/v1/learn", cookies=cookies).status_code == 401


def test_a_cookie_gives_no_key_away(there, tokens, workflow_id):
    cookies = {"fitcast_token": tokens["owner"]}
    answer = httpx.get(f"{there.url}/v1/workflows/{workflow_id}/key", cookies=cookies)
    assert answer.status_code == 403


def test_a_disabled_user_is_refused(there):
    token = there.token("leaving")
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{there.url}/v1/about", headers=headers).status_code == 200
    there.store.disable_user("leaving")
    answer = httpx.get(f"{there.url}/v1/about", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_authenticated"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
