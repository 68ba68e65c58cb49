"""Stores that are slow or locked: waited for with a bound, then an error of ours."""

import fcntl
import http.server
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from fitcast import errors
from fitcast.history.mlflow_import import ForeignExperiment
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.tracking_uri import WAIT_S, check_reachable
from fitcast.history.writer import HistoryWriter
from fitcast.settings import Settings
from tests.history import examples
from tests.listing import files_matching
from tests.polling import LONGEST_S

SHORT_S = 0.2  # only how long a test waits for what never comes: nothing depends on it

LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"BEGIN {sys.argv[2]}")
print("locked", flush=True)
sys.stdin.readline()
"""


class SlowServer:
    """A server that answers once it may."""

    def __init__(self):
        self.asked, self.may_answer = threading.Event(), threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.set()
                outer.may_answer.wait(2 * LONGEST_S)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self):
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def slow_server():
    server = SlowServer()
    yield server
    server.close()


@pytest.fixture
def database(empty_database, tmp_path):
    return shutil.copy(empty_database, tmp_path / "mlflow.db")


@contextmanager
def locked(database, how="EXCLUSIVE"):
    """Hold a lock on a database from another process."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(database), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout.readline() == b"locked\n"
            yield
        finally:
            process.stdin.close()


def written(writer):
    writer.start_workflow(examples.run("w1"))
    records = examples.sweep("w1")
    for record in records:
        writer.add(record)
    writer.finish_workflow(
        "w1", state="succeeded", summary_metrics={}, ended_at=examples.end().ended_at
    )
    return {record.record_id for record in records}


def test_a_slow_server_is_waited_for(slow_server):
    failed = []

    def check():
        try:
            check_reachable(slow_server.uri, LONGEST_S)
        except errors.HistoryError as error:
            failed.append(error)

    thread = threading.Thread(target=check)
    thread.start()
    assert slow_server.asked.wait(LONGEST_S)
    assert thread.is_alive()
    slow_server.may_answer.set()
    thread.join(LONGEST_S)
    assert not thread.is_alive()
    assert failed == []


@pytest.mark.parametrize(
    "use",
    [
        lambda uri: MlflowHistory(uri, wait_s=SHORT_S).prepare(),
        lambda uri: MlflowHistory(uri, wait_s=SHORT_S).read(),
        lambda uri: MlflowHistory(uri, wait_s=SHORT_S).models.versions(),
        lambda uri: ForeignExperiment(uri, "theirs", wait_s=SHORT_S).runs(),
    ],
    ids=["prepare", "read", "models", "import"],
)
def test_a_server_that_never_answers_is_told_of(slow_server, use):
    with pytest.raises(errors.HistoryError, match=r"within 0\.2 s.*FITCAST_STORE_WAIT_S"):
        use(slow_server.uri)


def test_records_stay_in_the_outbox_while_a_server_is_slow(slow_server, tmp_path):
    told = []
    writer = HistoryWriter(
        MlflowHistory(slow_server.uri, wait_s=SHORT_S), tmp_path / "outbox", on_trouble=told.append
    )
    ids = written(writer)
    assert not writer.flush(LONGEST_S)
    writer.close(LONGEST_S)
    (kept,) = files_matching(tmp_path / "outbox", "*/*.jsonl")
    assert all(record_id in kept.read_text() for record_id in ids)
    assert "FITCAST_STORE_WAIT_S" in told[0]


@pytest.mark.parametrize(
    ("use", "how"),
    [
        (lambda store: store.prepare(), "EXCLUSIVE"),
        (lambda store: store.prepare(), "IMMEDIATE"),
        (lambda store: store.read(), "EXCLUSIVE"),
        (lambda store: store.save(examples.workflow()), "IMMEDIATE"),
        (lambda store: store.models.versions(), "EXCLUSIVE"),
    ],
    ids=["prepare", "prepare beside a writer", "read", "save", "models"],
)
@pytest.mark.parametrize("opened", [False, True], ids=["new", "open before"])
def test_a_locked_database_is_told_of(database, use, how, opened):
    store = MlflowHistory(f"sqlite:///{database}", wait_s=SHORT_S)
    if opened:
        store.prepare()
    with (
        locked(database, how),
        pytest.raises(
            errors.HistoryError, match=r"locked by another process.*STORE_WAIT_S"
        ) as told,
    ):
        use(store)
    assert "sqlalche" not in str(told.value).lower()
    store.save(examples.workflow())
    assert len(store.read()[0]) == 7


def test_a_database_that_is_only_read_is_told_of_too(database):
    source = ForeignExperiment(f"sqlite:///{database}", "fitcast", wait_s=SHORT_S)
    with (
        locked(database),
        pytest.raises(errors.HistoryError, match=r"locked by another process.*STORE_WAIT_S"),
    ):
        source.runs()
    assert source.runs() == []


@pytest.mark.slow
def test_a_locked_database_gets_its_records_later(database, tmp_path):
    told = []
    uri = f"sqlite:///{database}"
    writer = HistoryWriter(
        MlflowHistory(uri, wait_s=SHORT_S), tmp_path / "outbox", on_trouble=told.append
    )
    with locked(database):
        ids = written(writer)
        assert not writer.flush(LONGEST_S)
        (kept,) = files_matching(tmp_path / "outbox", "*/*.jsonl")
        assert all(record_id in kept.read_text() for record_id in ids)
    assert writer.flush(LONGEST_S)
    writer.close(LONGEST_S)
    assert "locked by another process" in told[0]
    assert {record.record_id for record in MlflowHistory(uri).read()[0]} == ids
    assert list((tmp_path / "outbox").iterdir()) == []


def test_a_builder_that_hangs_is_told_of(tmp_path):
    store = MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db", wait_s=SHORT_S)
    with (tmp_path / "mlflow.db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(errors.HistoryError, match=r"Another process.*FITCAST_STORE_WAIT_S"):
            store.prepare()
    store.prepare()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "mlflow.db.lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(errors.HistoryError, match=r"mlflow\.db\.lock.*remove it"):
        MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db").prepare()
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_the_bound_is_a_setting(monkeypatch):
    assert Settings().store_wait_s == WAIT_S
    monkeypatch.setenv("FITCAST_STORE_WAIT_S", "7.5")
    assert Settings().store_wait_s == 7.5
    for wrong in ("0", "-1", "inf", "nan", "long"):
        monkeypatch.setenv("FITCAST_STORE_WAIT_S", wrong)
        with pytest.raises(errors.InvalidInputError, match="FITCAST_STORE_WAIT_S"):
            Settings()
