"""Live events: in order, resumed, ended; one poll for a thousand readers; none holds memory."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import event as sqlalchemy_event

from fitcast.scheduler.broker.announcement import Caps
from fitcast.scheduler.broker.api.app import broker_app
from fitcast.scheduler.broker.api.event_hub import BATCH, LINE, EventHub
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.serving.process import _server, listening_at
from fitcast.scheduler.broker.settings import BrokerSettings
from fitcast.scheduler.broker.store import BrokerStore, NewWorkflow, Progress
from fitcast.scheduler.session.api_thread import ApiThread
from tests.brokers import broker
from tests.gated import sweep
from tests.polling import LONGEST_S, wait_for
from tests.scheduler.broker.announcements import announced

DEMAND = Demand(cpu_s=10.0, memory_byte_s=1e9, gpu_s=0.0, most=Resources(1.0, 1e8))


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def token(there):
    return there.token("anna")


def announce(there, token):
    """Announce a workflow, which stays where it is; return its id."""
    body = announced(sweep().prepare())
    headers = {**bearer(token), "Idempotency-Key": body["workflow_id"]}
    answer = httpx.post(f"{there.url}/v1/workflows", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return body["workflow_id"]


def cancel(there, token, workflow_id):
    there_too = f"{there.url}/v1/workflows/{workflow_id}/cancel"
    assert httpx.post(there_too, headers=bearer(token)).status_code == 200


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def stream(there, token, path="/v1/events", **headers):
    """Open a stream; what it gives are its events, as dictionaries of their fields."""
    with httpx.stream(
        "GET", there.url + path, headers={**bearer(token), **headers}, timeout=LONGEST_S
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        blocks = parsed(answer.iter_lines())
        assert "id" in next(blocks)  # where it begins: it is open, and nothing is missed any more
        yield blocks


def parsed(lines):
    fields = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and fields:
            yield fields
            fields = {}


def state_of(block):
    return json.loads(block["data"])["state"]


def test_a_workflow_is_followed_from_its_beginning_to_its_end(there, token):
    workflow_id = announce(there, token)
    with stream(there, token, f"/v1/workflows/{workflow_id}/events") as blocks:
        first = next(blocks)
        assert (first["event"], state_of(first)) == ("state", "uploading")
        assert json.loads(first["data"])["workflow_id"] == workflow_id
        cancel(there, token, workflow_id)
        assert state_of(next(blocks)) == "cancelled"
        assert list(blocks) == []  # the stream ends with it


def test_a_stream_goes_on_after_the_event_that_was_seen_last(there, token):
    workflow_id = announce(there, token)
    path = f"/v1/workflows/{workflow_id}/events"
    with stream(there, token, path) as blocks:
        seen = next(blocks)["id"]
    cancel(there, token, workflow_id)
    for more in ({"Last-Event-ID": seen}, {}):
        with stream(there, token, path if more else f"{path}?after={seen}", **more) as blocks:
            rest = list(blocks)
        assert [state_of(block) for block in rest] == ["cancelled"]
    # nothing is left: 204 tells a browser not to come back
    headers = {**bearer(token), "Last-Event-ID": rest[-1]["id"]}
    assert httpx.get(there.url + path, headers=headers).status_code == 204


def test_all_of_a_users_workflows_are_followed_from_now_on_and_nobody_elses(there, token):
    other = there.token("berta")
    announce(there, token)
    with stream(there, token) as blocks:
        announce(there, other)
        mine = announce(there, token)
        told = next(blocks)
        assert json.loads(told["data"])["workflow_id"] == mine


def test_an_administrator_follows_everybodys(there, token):
    boss = there.token("boss", "read", "admin", is_admin=True)
    with stream(there, boss) as blocks:
        ids = [announce(there, token), announce(there, there.token("berta"))]
        assert [json.loads(next(blocks)["data"])["workflow_id"] for _ in ids] == ids


@pytest.mark.parametrize("last", ["x", "-1", "1e3", str(2**70), "٣"])
def test_a_last_event_of_nowhere_is_refused(there, token, last):
    headers = [(b"Authorization", f"Bearer {token}".encode()), (b"Last-Event-ID", last.encode())]
    answer = httpx.get(f"{there.url}/v1/events", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] in ("invalid", "invalid_request")


def test_the_reading_cookie_opens_a_stream(there, token):
    cookies = {"fitcast_token": token}
    address = f"{there.url}/v1/events"
    with httpx.stream("GET", address, cookies=cookies, timeout=LONGEST_S) as answer:
        assert answer.status_code == 200


def test_one_user_cant_take_all_the_streams(there, monkeypatch):
    token = there.token("greedy")
    monkeypatch.setattr("fitcast.scheduler.broker.api.event_hub.STREAMS_OF_ONE", 1)
    with stream(there, token):
        answer = httpx.get(f"{there.url}/v1/events", headers=bearer(token))
        assert answer.status_code == 429
        assert answer.headers["Retry-After"]
        with stream(there, there.token("modest")):
            pass


def test_a_stream_ends_by_itself_after_a_while_and_is_resumed(there, token, monkeypatch):
    monkeypatch.setattr("fitcast.scheduler.broker.api.event_routes.OPEN_FOR_S", 0.0)
    with stream(there, token) as blocks:
        workflow_id = announce(there, token)
        (told,) = list(blocks)
    cancel(there, token, workflow_id)
    with stream(there, token, **{"Last-Event-ID": told["id"]}) as blocks:
        assert state_of(next(blocks)) == "cancelled"


def test_streams_end_with_the_process(tmp_path):
    with broker(tmp_path) as running:
        answered = threading.Event()
        rest = []

        def follow():
            with stream(running, token) as blocks:
                answered.set()
                rest.extend(blocks)  # ends, and isn't broken off

        token = running.token("anna")
        reader = threading.Thread(target=follow)
        reader.start()
        assert answered.wait(LONGEST_S)
    reader.join(LONGEST_S)
    assert not reader.is_alive()
    assert rest == []


def test_a_thousand_streams_are_served_by_one_poll(there):
    users, each = 8, 125
    tokens = [there.token(f"reader{number}") for number in range(users)]
    reads = []

    def note(connection, cursor, statement, parameters, context, many):
        if "FROM events" in statement:
            reads.append(statement)

    async def follow():
        streams = []
        for token in tokens:
            opened = [_opened(there, token) for _ in range(each)]
            streams += await asyncio.gather(*opened)
        reads.clear()  # each has read where it begins; from here on they only wait
        ids = [await asyncio.to_thread(announce, there, token) for token in tokens]
        seen = await asyncio.gather(*(_next_event(reader) for reader, _ in streams))
        polls = len(reads)
        for _, writer in streams:
            writer.close()
        return ids, seen, polls

    engine = there.store._database.engine
    sqlalchemy_event.listen(engine, "before_cursor_execute", note)
    try:
        ids, seen, polls = asyncio.run(follow())
    finally:
        sqlalchemy_event.remove(engine, "before_cursor_execute", note)
    assert len(seen) == users * each
    for number, workflow_id in enumerate(ids):
        mine = seen[number * each : (number + 1) * each]
        assert {json.loads(block["data"])["workflow_id"] for block in mine} == {workflow_id}
    # readers that asked for themselves would have asked a thousand times at least
    assert 1 <= polls < 200


async def _opened(there, token):
    """Open a stream by hand; return its reader and writer once it is told where it begins."""
    place = urlsplit(there.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(
        f"GET /v1/events HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head, head
    await reader.readuntil(b"\n\n")
    return reader, writer


async def _next_event(reader):
    while True:
        piece = await reader.readuntil(b"\n\n")
        lines = [line for line in piece.decode().splitlines() if ": " in line]
        found = dict(line.partition(": ")[::2] for line in lines)
        if "event" in found:
            return found


# -- the hub, by itself -------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    with BrokerStore(f"sqlite:///{tmp_path / 'broker.db'}") as opened:
        yield opened


def running_workflow(store, user_id, workflow_id="w"):
    store.add(
        user_id,
        NewWorkflow(
            workflow_id=workflow_id,
            name=workflow_id,
            fits_total=10**6,
            demand=DEMAND,
            dataset_bytes=0,
            dataset_sha256="",
            sweep_bytes=1,
            sweep_sha256="",
            wrapped_key=b"k",
            key_version="1",
            request_sha256=workflow_id,
        ),
    )
    store.note_received(workflow_id, "sweep", 0, 1)
    store.accept(workflow_id)
    return store.claim(workflow_id, "r", 60.0)


def note_progress(store, row, fits_done):
    progress = Progress(fits_done=fits_done, demand_left=DEMAND, eta_s=None, used=Resources())
    assert store.renew("r", 60.0, {row.workflow_id: (row.fence, progress)})


def test_a_stalled_reader_holds_a_few_events_and_then_hears_how_it_stands_now(store):
    user = store.add_user("anna")
    row = running_workflow(store, user.user_id)
    n_events = 3 * LINE

    async def follow():
        hub = EventHub(store, lambda: False, poll_s=0.0)
        quick = hub.follow(1, store.last_seq(), user.user_id, None)
        stalled = hub.follow(2, store.last_seq(), user.user_id, None)
        note_progress(store, row, 0)
        assert (await anext(stalled)).data["fits_done"] == 0
        assert (await anext(quick)).data["fits_done"] == 0
        held = 0
        for done in range(1, n_events):  # one of them takes each as it comes
            note_progress(store, row, done)
            assert (await anext(quick)).data["fits_done"] == done
            held = max(held, *(len(one.line) for them in hub._followers.values() for one in them))
        # some of what waited for it may be told; then how it stands now, and nothing in between
        told = [(await anext(stalled)).data["fits_done"]]
        while told[-1] != n_events - 1:
            told.append((await anext(stalled)).data["fits_done"])
        await quick.aclose()
        await stalled.aclose()
        return held, told, hub.streams

    held, told, left = asyncio.run(follow())
    assert held <= LINE
    assert told == sorted(set(told))
    assert len(told) <= LINE + 1
    assert left == 0


def test_more_than_a_batch_is_followed_without_a_gap(store):
    user = store.add_user("anna")
    rows = [running_workflow(store, user.user_id, f"w{number}") for number in range(3)]
    begin = store.last_seq()

    async def follow():
        hub = EventHub(store, lambda: False, poll_s=0.0)
        following = hub.follow(1, begin, None, None)
        for done, row in enumerate(rows):
            note_progress(store, row, done)
        for row in rows:
            store.end(row.workflow_id, row.fence, State.FAILED)
        seen = [await anext(following) for _ in range(2 * len(rows))]
        await following.aclose()
        return seen

    assert BATCH > 6
    seen = asyncio.run(follow())
    assert [one.seq for one in seen] == sorted(one.seq for one in seen)
    assert [one.kind for one in seen] == 3 * ["progress"] + 3 * ["state"]


def test_nobody_polls_when_nobody_follows(store):
    async def follow():
        hub = EventHub(store, lambda: False, poll_s=0.0)
        following = hub.follow(1, 0, None, None)
        waits = asyncio.ensure_future(anext(following))
        while not hub.polls:
            await asyncio.sleep(0)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        await following.aclose()
        await hub._poller
        polls = hub.polls
        again = hub.follow(1, 0, None, None)
        user = await asyncio.to_thread(store.add_user, "anna")
        waits = asyncio.ensure_future(anext(again))
        await asyncio.to_thread(running_workflow, store, user.user_id)
        assert (await waits).data["state"] == "uploading"
        await again.aclose()
        return polls, hub.polls

    before, after = asyncio.run(follow())
    assert 1 <= before < after


def test_a_reader_that_takes_nothing_is_hung_up_on(store, monkeypatch):
    # only what has to wait for a reader takes any time, so it is held up for no longer than this
    monkeypatch.setattr("fitcast.scheduler.broker.api.event_routes.STALLED_S", 0.0)
    user = store.add_user("anna")
    secret = store.create_token("anna", "test", ("read",))[1]
    row = running_workflow(store, user.user_id)
    app = broker_app(Service(store, None, None, None, Caps()))
    settings = BrokerSettings(port=0)
    with listening_at(settings) as listening:
        server = ApiThread(_server(app, settings), listening, "events")
        try:
            with socket.socket() as reader:
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                reader.connect(listening.getsockname())
                reader.sendall(
                    f"GET /v1/events HTTP/1.1\r\nHost: x\r\n"
                    f"Authorization: Bearer {secret}\r\n\r\n".encode()
                )
                told = b""
                while b"\n\nid: " not in told and b"\nid: " not in told:
                    told += reader.recv(1000)
                assert wait_for(lambda: app.state.event_hub.streams == 1)
                for _ in range(100):  # much more than the system holds for a connection
                    assert store.give_back(row.workflow_id, row.fence, 100_000 * "x")
                    row = store.claim(row.workflow_id, "r", 60.0)
                assert wait_for(lambda: app.state.event_hub.streams == 0)
        finally:
            server.close()
