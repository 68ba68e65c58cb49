"""Where token, key and rows of a user's can be seen on a shared platform: nowhere in clear.

A real workflow through `fitcast serve`; then every place that it might have reached is looked at:
database, files, logs, MLflow, answers to others, processes, Dask's tasks, what is left in memory.
"""

import base64
import os
import re
import sqlite3
import struct
import subprocess
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from fitcast import Client
from fitcast.history.locked_folders import memory_root
from fitcast.scheduler.broker.store import BrokerStore
from tests.brokers import Served, broker, no_broker_variables
from tests.leases import leases_of
from tests.listing import files_matching
from tests.polling import LONGEST_S, wait_for
from tests.ports import free_port
from tests.postgres_server import USER, PostgresServer, binaries, why_not
from tests.security.canaries import (
    COLUMN,
    DEED,
    PARAMETER,
    ROWS,
    SCORE,
    canary_sweep,
)
from tests.security.sinks import (
    files_below,
    processes,
    seen,
    tasks_of_scheduler,
    tasks_of_worker,
)

pytestmark = [pytest.mark.security, pytest.mark.timeout(400)]


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    """Have no platform of the environment, and temporary files where they are looked for."""
    no_broker_variables(monkeypatch)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))


class SqliteOfTests:
    def __init__(self, home: Path):
        self.file = home / "broker" / "broker.db"
        self.url = f"sqlite:///{self.file}"
        self.variables = {}

    def dump(self) -> bytes:
        with closing(sqlite3.connect(self.file)) as connection:
            return "\n".join(connection.iterdump()).encode()


class PostgresOfTests:
    def __init__(self, server: PostgresServer):
        self._server = server
        self._name = server.new_database()
        self.url = server.url(self._name)
        self.variables = {"BROKER_DATABASE": self.url}

    def dump(self) -> bytes:
        command = [binaries() / "pg_dump", "-h", self._server.folder, "-U", USER, self._name]
        run = subprocess.run(command, capture_output=True, check=True)
        return run.stdout


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request, tmp_path):
    folder = tmp_path / "platform" / "broker"
    folder.mkdir(parents=True)
    for made in (folder, folder.parent):
        made.chmod(0o700)
    if request.param == "sqlite":
        yield SqliteOfTests(folder.parent)
        return
    if why_not():
        pytest.skip(why_not())
    server = PostgresServer()
    try:
        server.start()
        yield PostgresOfTests(server)
    finally:
        server.remove()


def forms(key: bytes) -> tuple[bytes, ...]:
    """Return how a key may be written."""
    plain = base64.b64encode(key)
    return (key, key.hex().encode(), plain, base64.urlsafe_b64encode(key).rstrip(b"="))


def answers(url, token, workflow_id):
    """Return what a caller is told by every route that tells of more than one workflow."""
    headers = {"Authorization": f"Bearer {token}"}
    paths = ["/v1/status", "/v1/queue", "/v1/workflows", "/v1/users", "/v1/audit", "/metrics"]
    paths += ["/v1/about", "/", "/openapi.json", f"/v1/workflows/{workflow_id}"]
    paths += [f"/v1/workflows/{workflow_id}/{part}" for part in ("fits", "submission", "logs")]
    return {path: httpx.get(url + path, headers=headers, timeout=60.0).content for path in paths}


def test_token_key_and_rows_are_nowhere_in_clear(tmp_path, database, no_process_left):
    home, gate, own = tmp_path / "platform", tmp_path / "gate", tmp_path / "client"
    with closing(BrokerStore(database.url).open()) as store:
        tokens = {}
        for user, scopes in {
            "ann": {"read", "submit"},
            "bob": {"read"},
            "boss": {"read", "admin"},
        }.items():
            store.add_user(user, is_admin=user == "boss")
            tokens[user] = store.create_token(user, "test", frozenset(scopes))[1]
    secret_tokens = [token.encode() for token in tokens.values()]
    told = {}
    with Served(home, free_port(), **database.variables) as served:
        with Client(served.url, token=tokens["ann"], home=own) as client:
            workflow = client.submit(canary_sweep(gate))
            headers = {"Authorization": f"Bearer {tokens['ann']}"}
            given = httpx.get(f"{served.url}/v1/workflows/{workflow.id}/key", headers=headers)
            key = base64.b64decode(given.json()["key"])
            keys = forms(key)
            assert wait_for(lambda: workflow.counts()[1] == 2)  # those that wait

            during = files_below(tmp_path, memory_root())
            (lease,) = leases_of(served.pid)
            (key_file,) = files_matching(lease, "*.key")
            assert seen(during, *keys) == [str(key_file)]  # where workers read it
            assert not seen(during, *secret_tokens, *ROWS)
            assert not seen(processes(), *keys, *secret_tokens, *ROWS)
            told |= {f"bob {path}": text for path, text in _asked(served, tokens, "bob", workflow)}
            told |= {
                f"boss {path}": text for path, text in _asked(served, tokens, "boss", workflow)
            }
            pid = served.pid

            gate.touch()
            result = workflow.result(LONGEST_S)
            assert len(result.errors) == 2  # tracebacks of these are in records and logs
            assert result.leaderboard["mean_score"].max() == SCORE
            assert client.flush(LONGEST_S)
            told |= {
                f"later {path}": text for path, text in _asked(served, tokens, "boss", workflow)
            }
            mine = dict(_asked(served, tokens, "ann", workflow))
            # a request that fails leaves a traceback in the log
            keys_file = home / "broker" / "keys.json"
            keys_file.rename(keys_file.with_suffix(".away"))
            failed = httpx.get(f"{served.url}/v1/workflows/{workflow.id}/key", headers=headers)
            assert failed.status_code == 500
            keys_file.with_suffix(".away").rename(keys_file)
        log = served.log
    after = files_below(tmp_path, memory_root())
    assert str(log) in after
    assert {str(home / "mlflow.db")} <= set(after)
    dump = {"dump": database.dump()}
    assert b"canary" in dump["dump"]  # the workflow's name: it is the right one

    for places in (after, told, dump, mine):
        assert not seen(places, *keys)
        assert not seen(places, *secret_tokens)
        assert not seen(places, *ROWS)
    assert not leases_of(pid)
    assert not list((tmp_path / "tmp").rglob("*"))

    # what isn't secret is seen by whom it is for, and in these places alone
    artifacts = "mlartifacts/RUN/artifacts"
    tables = {f"{artifacts}/fits.parquet", f"{artifacts}/fitcast/records.parquet"}
    leaders = f"{artifacts}/leaderboard.csv"
    failures = {
        f"{artifacts}/failures.txt",
        *(f"{artifacts}/failures/c0001-f{n}.txt" for n in (0, 1)),
    }
    evidence = "mlartifacts-sizing/RUN/artifacts/sizing-model/evidence.parquet"
    submitted = "workflows/ID/submission.json"
    for values, expected, told_me in (
        ((COLUMN.encode(),), set(), set()),
        (
            (repr(PARAMETER).encode(),),
            {"mlflow.db", leaders, submitted, *tables},
            {"fits", "submission"},
        ),
        (
            (DEED.encode(),),
            {"mlflow.db", leaders, submitted, *tables, *failures},
            {"fits", "submission", "logs"},
        ),
        (
            (repr(SCORE).encode(), struct.pack(">d", SCORE), struct.pack("<d", SCORE)),
            {"mlflow.db", leaders, *tables},
            set(),
        ),
    ):
        found = _kinds(seen(after, *values), home, workflow.id)
        assert found - {evidence} == expected  # it may have been trained, or not yet
        assert {path.rpartition("/")[2] for path in seen(mine, *values)} == told_me
        assert not seen(dump, *values)
        assert not seen(told, *values)


def _kinds(places, home, workflow_id):
    names = (str(Path(place).relative_to(home)) for place in places)
    return {re.sub(r"\b[0-9a-f]{32}/", "RUN/", name.replace(workflow_id, "ID")) for name in names}


def test_no_task_log_or_metric_of_dask_holds_them(tmp_path):
    gate = tmp_path / "gate"
    with (
        broker(tmp_path / "home") as there,
        Client(there.url, token=(token := there.token("ann")), home=tmp_path) as client,
    ):
        workflow = client.submit(canary_sweep(gate))
        assert wait_for(lambda: workflow.counts()[1] == 2)
        (key_file,) = [
            path for lease in leases_of(os.getpid()) for path in files_matching(lease, "*.key")
        ]
        dask = there.engine._shared._attempts.dask
        places = dask.run_on_scheduler(tasks_of_scheduler) | {
            f"data of {worker}": data for worker, data in dask.run(tasks_of_worker).items()
        }
        assert sum(name.startswith("task ") for name in places) == 2  # the fits that wait
        for name, logs in {
            "scheduler": dask.get_scheduler_logs(),
            **dask.get_worker_logs(),
            **dask.get_worker_logs(nanny=True),
        }.items():
            places[f"log of {name}"] = repr(logs).encode()
        assert not seen(places, *forms(key_file.read_bytes()), token.encode(), *ROWS)
        gate.touch()
        workflow.result(LONGEST_S)


def _asked(served, tokens, user, workflow):
    return answers(served.url, tokens[user], workflow.id).items()
