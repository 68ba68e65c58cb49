"""The ETAs of what waits: told, kept as given at submission, corrected by what has ended."""

import json
from types import SimpleNamespace

import pytest
from sqlalchemy import update

from fitcast.scheduler.broker.announcement import Caps
from fitcast.scheduler.broker.files import WorkflowFiles
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.serving.judged_forecasts import EVERY_S, PLAYED
from fitcast.scheduler.broker.serving.queue_etas import QueueEtas
from fitcast.scheduler.broker.sharers import NO_LIMITS
from fitcast.scheduler.broker.store.tables import WORKFLOWS
from tests.scheduler.broker.submissions import queued

WORKER = SimpleNamespace(cpus=8, memory_bytes=8 * 2**30)


@pytest.fixture
def there(store, tmp_path):
    engine = SimpleNamespace(workers=lambda: [WORKER])
    files = WorkflowFiles(tmp_path / "workflows")
    service = Service(store, None, files, engine, Caps())
    clock = SimpleNamespace(now_s=0.0)
    etas = QueueEtas(service, NO_LIMITS, lambda: clock.now_s)
    user_id = store.add_user("ana").user_id
    return SimpleNamespace(store=store, files=files, clock=clock, etas=etas, user=user_id)


def comes(there, name):
    queued(there.store, there.user, name)
    there.files.folder(name).path.mkdir(parents=True)


def ended(there, name, said_s, took_s):
    """Let a workflow have been forecast and have succeeded."""
    comes(there, name)
    path = there.files.folder(name).path / PLAYED
    path.write_text(json.dumps([1000.0, 0.5 * said_s, said_s, 2.0 * said_s, False]))
    there.store._database.write(
        lambda writing: writing.connection.execute(
            update(WORKFLOWS)
            .where(WORKFLOWS.c.workflow_id == name)
            .values(state=State.SUCCEEDED, ended_at_s=1000.0 + took_s)
        )
    )


def test_the_first_forecast_is_kept_with_what_was_played(there):
    comes(there, "w")
    there.etas.turn()
    folder = there.files.folder("w")
    kept = folder.forecast_s()
    at_s, *played_s, full = json.loads((folder.path / PLAYED).read_bytes())
    assert played_s == pytest.approx(there.store.get("w").eta_s)  # nothing has ended yet
    assert kept[1] >= played_s[1]  # from submission on
    assert not full
    there.etas.turn()
    assert folder.forecast_s() == kept
    assert json.loads((folder.path / PLAYED).read_bytes())[0] == at_s


def test_what_ended_later_than_forecast_makes_others_be_told_later(there):
    comes(there, "w")
    there.etas.turn()
    before_s = there.store.get("w").eta_s
    for number in range(30):
        ended(there, f"e{number}", 10.0, 30.0)
    (there.files.folder("e0").path / PLAYED).write_text("broken")
    there.clock.now_s += EVERY_S + 1.0
    there.etas.turn()
    assert there.store.get("w").eta_s[1] > 1.5 * before_s[1]
