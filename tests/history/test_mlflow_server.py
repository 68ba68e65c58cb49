"""A real MLflow server on this machine: writing and reading over HTTP, and its going away."""

import pytest

from fitcast.errors import HistoryError
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.writer import HistoryWriter
from tests.history import examples
from tests.history.mlflow_servers import server
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)


@pytest.mark.slow
def test_a_server_that_goes_away_and_comes_back_has_everything(tmp_path, capfd):
    MlflowHistory(f"sqlite:///{tmp_path}/server.db", "unused").prepare()
    port, told = free_port(), []
    uri = f"http://127.0.0.1:{port}"
    # for the writer no time goes by: what it doesn't store, it has tried to, not waited out
    writer = HistoryWriter(
        MlflowHistory(uri), tmp_path / "outbox", on_trouble=told.append, clock=lambda: 0.0
    )

    def start(workflow_id):
        writer.start_workflow(examples.run(workflow_id))
        for record in examples.sweep(workflow_id)[:4]:
            writer.add(record)
        failure = examples.failed(workflow_id, candidate=1, fold=1)
        writer.add(failure, examples.failure_log(failure))

    def finish(workflow_id):
        for record in examples.sweep(workflow_id)[5:]:
            writer.add(record)
        end = examples.end()
        writer.finish_workflow(
            workflow_id, state="succeeded", summary_metrics={}, ended_at=end.ended_at
        )

    with server(tmp_path, port):
        start("w1")
        start("w2")
        finish("w1")
        assert writer.flush(60)
        assert writer.url("w1").startswith(f"{uri}/#/experiments/")
        records, cursor = MlflowHistory(uri).read()
        assert {r.workflow_id for r in records} == {"w1"}
        assert len(records) == 7
    finish("w2")
    start("w3")
    assert not writer.flush(60)
    with pytest.raises(HistoryError, match="No MLflow server answers"):
        MlflowHistory(uri).read(cursor)
    with server(tmp_path, port):
        finish("w3")
        assert writer.flush(60)
        reader = MlflowHistory(uri)
        records, cursor = reader.read(cursor)
        assert sorted({r.workflow_id for r in records}) == ["w2", "w3"]
        assert len(records) == 14
        assert len({r.record_id for r in records}) == 14
        assert reader.read(cursor) == ([], cursor)
    assert len(told) == 2  # before the server's first start, perhaps, and while it was away
    writer.close(60)
    assert list((tmp_path / "outbox").iterdir()) == []
    out, err = capfd.readouterr()
    assert "View run" not in out
    assert "Retrying" not in err
