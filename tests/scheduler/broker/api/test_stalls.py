"""Clients that stall: uploads of which nothing comes, a thousand at once, who takes nothing.

On loopback, with real sockets. Nothing is timed: the broker hangs up after a short while, and what
is asked is whether it does and what becomes of others meanwhile.
"""

import asyncio
import json
import resource
import socket

import httpx
import psutil
import pytest

from fitcast.scheduler.broker.lifecycle import State
from tests.brokers import MIB, broker
from tests.gated import sweep
from tests.polling import LONGEST_S, wait_for
from tests.scheduler.broker.announcements import announced

UPLOADS = 8
UPLOAD_BYTES = 4 * MIB
STALLED = 1000


@pytest.fixture(scope="module", autouse=True)
def many_files():
    """Let this process, which is both ends here, have the connections open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * STALLED if hard == resource.RLIM_INFINITY else min(hard, 4 * STALLED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home"), uploads=UPLOADS, stall_s=2.0) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(there):
    return [there.token(f"user-{number}") for number in range(8)]


@pytest.fixture(scope="module")
def prepared():
    return sweep().prepare()


def asking(there, token):
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{there.url}/v1", headers=headers, timeout=LONGEST_S)


def new_workflow(there, token, prepared, key):
    body = announced(prepared)
    for upload in ("dataset", "sweep"):
        body[upload]["sealed_bytes"] = UPLOAD_BYTES
    with asking(there, token) as client:
        answer = client.post("/workflows", json=body, headers={"Idempotency-Key": key})
    assert answer.status_code == 201, answer.text
    return body["workflow_id"]


def head(workflow_id, upload, token, offset=0, size=UPLOAD_BYTES):
    return (
        f"PATCH /v1/workflows/{workflow_id}/uploads/{upload} HTTP/1.1\r\n"
        f"Host: here\r\nAuthorization: Bearer {token}\r\nUpload-Offset: {offset}\r\n"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


def port_of(there):
    return int(there.url.rpartition(":")[2])


def answer_of(connection):
    """Return status, headers and document of what is answered on a socket."""
    answer = b""
    while data := connection.recv(65536):
        answer += data
    lines, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = lines.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in headers)
    return int(status.split()[1]), fields, json.loads(body)


def test_an_upload_that_stalls_is_ended_and_gone_on_with(there, tokens, prepared):
    workflow_id = new_workflow(there, tokens[0], prepared, "stalls")
    sent = 3 * MIB
    with socket.create_connection(("127.0.0.1", port_of(there))) as connection:
        connection.sendall(head(workflow_id, "dataset", tokens[0]) + sent * b"x")
        status, _, told = answer_of(connection)
    assert status == 408
    assert told["error"]["code"] == "stalled"
    assert "go on from there" in told["error"]["message"]
    with asking(there, tokens[0]) as client:
        path = f"/workflows/{workflow_id}/uploads/dataset"
        here = client.get(path).json()["received"]
        assert here == sent  # what came before counts
        rest = (UPLOAD_BYTES - here) * b"x"
        answer = client.patch(path, content=rest, headers={"Upload-Offset": str(here)})
        assert answer.json() == {"received": UPLOAD_BYTES}


def test_a_connection_that_breaks_keeps_what_came(there, tokens, prepared):
    workflow_id = new_workflow(there, tokens[0], prepared, "breaks")
    with socket.create_connection(("127.0.0.1", port_of(there))) as connection:
        connection.sendall(head(workflow_id, "sweep", tokens[0]) + MIB * b"x")
    row = there.store.get(workflow_id)
    assert wait_for(lambda: there.store.get(workflow_id).received["sweep"] == MIB), row


def test_a_body_that_stalls_is_ended_too(there, tokens):
    with socket.create_connection(("127.0.0.1", port_of(there))) as connection:
        connection.sendall(
            f"POST /v1/estimates HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {tokens[0]}\r\n"
            'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"subm'.encode()
        )
        assert answer_of(connection)[0] == 408


def test_a_thousand_uploads_at_once_hold_little_and_hold_nobody_up(there, tokens, prepared):
    workflows = [
        (new_workflow(there, token, prepared, f"of-many-{number}"), token)
        for token in tokens
        for number in range(2)
    ]
    before = psutil.Process().memory_info().rss

    async def one(number):
        workflow_id, token = workflows[number % len(workflows)]
        upload = ("dataset", "sweep")[number // len(workflows) % 2]
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(there))
        try:
            writer.write(head(workflow_id, upload, token) + 64 * 1024 * b"x")
            answer = await reader.read()
        except ConnectionError:  # answered before all of it was read
            answer = b""
        finally:
            writer.close()
        lines = answer.partition(b"\r\n\r\n")[0].decode().lower()
        status = int(lines.split()[1]) if lines else 0
        if status in (429, 503):
            assert "retry-after: " in lines
        return status

    async def all_of_them():
        tasks = [asyncio.create_task(one(number)) for number in range(STALLED)]
        async with httpx.AsyncClient(base_url=there.url, timeout=LONGEST_S) as others:
            headers = {"Authorization": f"Bearer {tokens[0]}"}
            for path in ("/healthz", "/readyz", "/v1/about", "/v1/workflows"):
                assert (await others.get(path, headers=headers)).status_code == 200
        return await asyncio.gather(*tasks)

    statuses = asyncio.run(all_of_them())
    assert set(statuses) <= {0, 408, 409, 429, 503}
    assert 1 <= statuses.count(408) <= STALLED / 4  # those that were let in
    assert statuses.count(429) + statuses.count(503) > STALLED / 2
    assert statuses.count(0) < STALLED / 4
    assert psutil.Process().memory_info().rss - before < 200 * MIB
    # and all of them can be gone on with
    for workflow_id, token in workflows[:3]:
        row = there.store.get(workflow_id)
        assert row.state is State.UPLOADING
        with asking(there, token) as client:
            answer = client.patch(
                f"/workflows/{workflow_id}/uploads/dataset",
                content=UPLOAD_BYTES * b"x",
                headers={"Upload-Offset": "0"} if not row.received["dataset"] else {},
            )
            assert answer.status_code in (200, 422)


def test_who_takes_nothing_of_a_file_is_hung_up_on(there, tokens, prepared):
    workflow_id = new_workflow(there, tokens[0], prepared, "reads-nothing")
    name = "00000001-0123456789abcdef.sealed"
    folder = there.home / "workflows" / workflow_id / "results"
    folder.mkdir()
    with (folder / name).open("wb") as file:
        file.truncate(64 * MIB)  # longer than what lies in the buffers between
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port_of(there)))
        own = connection.getsockname()[1]
        asks = (
            f"GET /v1/workflows/{workflow_id}/files/{name} HTTP/1.1\r\nHost: here\r\n"
            f"Authorization: Bearer {tokens[0]}\r\n\r\n"
        )
        connection.sendall(asks.encode())
        assert connection.recv(1)  # it has begun
        assert _is_served(own)
        assert wait_for(lambda: not _is_served(own))
    with asking(there, tokens[0]) as client:
        assert client.get("/about").status_code == 200


def _is_served(port):
    """Tell whether the broker still holds the connection that comes from a port."""
    return any(
        one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
        for one in psutil.Process().net_connections("tcp")
    )
