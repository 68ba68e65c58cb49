"""A real MLflow server with a login: records get there with it, and are kept without."""

import logging
import secrets
from pathlib import Path

import psutil
import pytest

from fitcast.errors import HistoryError
from fitcast.history.mlflow_import import ForeignExperiment
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.writer import HistoryWriter
from tests.history import examples
from tests.history.mlflow_servers import server
from tests.listing import files_matching
from tests.ports import free_port

pytest.importorskip("flask_wtf", reason="MLflow's basic-auth needs flask-wtf, which isn't here")
pytestmark = [pytest.mark.timeout(300), pytest.mark.security]

PASSWORD = secrets.token_hex(16)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that only lets in `admin`; its folder, address and process."""
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    MlflowHistory(f"sqlite:///{folder}/server.db", "unused").prepare()
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = EDIT\nadmin_username = admin\n"
        f"database_uri = sqlite:///{folder}/auth.db\n"
    )
    env = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
    }
    with server(folder, port, ["--app-name", "basic-auth"], env) as process:
        yield folder, f"http://127.0.0.1:{port}", process


@pytest.fixture
def log_in(monkeypatch):
    def change(user, password):
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    return change


def written(writer, workflow_id):
    writer.start_workflow(examples.run(workflow_id))
    *fits, _, refit = examples.sweep(workflow_id)
    for record in (*fits, refit):
        writer.add(record)
    failure = examples.failed(workflow_id, candidate=1, fold=2)
    writer.add(failure, examples.failure_log(failure))
    writer.finish_workflow(
        workflow_id, state="succeeded", summary_metrics={}, ended_at=examples.end().ended_at
    )


@pytest.mark.slow
def test_records_arrive_with_a_login_and_wait_without(guarded, log_in, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    folder, uri, process = guarded
    wrong = secrets.token_hex(16)
    told = []
    log_in("admin", wrong)
    # for the writer no time goes by: what it doesn't store, it has tried to, not waited out
    writer = HistoryWriter(
        MlflowHistory(uri), tmp_path / "outbox", on_trouble=told.append, clock=lambda: 0.0
    )
    written(writer, "w1")
    assert not writer.flush(60)
    (kept,) = files_matching(tmp_path / "outbox", "*/*.jsonl")
    assert kept.read_text().count('"kind": "record"') == 7
    assert len(told) == 1
    assert "refuses access (HTTP 401)" in told[0]
    assert "MLFLOW_TRACKING_PASSWORD" in told[0]

    log_in("admin", PASSWORD)
    assert writer.flush(60)
    records, cursor = MlflowHistory(uri).read()
    assert len(records) == 7
    assert {r.workflow_id for r in records} == {"w1"}

    log_in("admin", wrong)  # changed while it is in use
    written(writer, "w2")
    assert not writer.flush(60)
    assert len(told) == 2
    assert "refuses access (HTTP 401)" in told[1]
    log_in("admin", PASSWORD)
    assert writer.flush(60)
    writer.close(60)
    assert list((tmp_path / "outbox").iterdir()) == []
    assert {r.workflow_id for r in MlflowHistory(uri).read(cursor)[0]} == {"w2"}

    said = "".join([*capfd.readouterr(), caplog.text, *told, (folder / "server.log").read_text()])
    everyone = [psutil.Process(), process_of(process), *process_of(process).children(True)]
    arguments = "".join(" ".join(one.cmdline()) for one in everyone)
    stored = b"".join(p.read_bytes() for p in Path(folder).rglob("*") if p.is_file())
    for secret in (PASSWORD, wrong):
        assert secret not in said
        assert secret not in arguments
        assert secret.encode() not in stored


def process_of(server_process):
    return psutil.Process(server_process.pid)


@pytest.mark.parametrize(
    "use",
    [
        lambda uri: MlflowHistory(uri).prepare(),
        lambda uri: MlflowHistory(uri).read(),
        lambda uri: MlflowHistory(uri).models.versions(),
        lambda uri: ForeignExperiment(uri, "theirs").runs(),
    ],
    ids=["prepare", "read", "models", "import"],
)
def test_who_has_no_login_is_told_what_to_do(guarded, log_in, use):
    with pytest.raises(HistoryError, match=r"HTTP 401.*MLFLOW_TRACKING_USERNAME"):
        use(guarded[1])


@pytest.mark.slow
def test_a_password_in_the_address_is_never_shown(guarded, log_in):
    wrong = secrets.token_hex(16)
    uri = guarded[1].replace("://", f"://admin:{wrong}@")
    with pytest.raises(HistoryError) as caught:
        MlflowHistory(uri).read()
    assert wrong not in str(caught.value)
