"""What the history is told, and asked, of workflows."""

import pytest

from fitcast.history.store import MemoryHistory
from fitcast.scheduler.session.recording import Recorder
from tests.history import examples
from tests.polling import LONGEST_S


@pytest.fixture
def recorder(tmp_path):
    store = MemoryHistory()
    store.save(examples.workflow())
    recorder = Recorder(store, tmp_path, keep_messages=True, on_trouble=lambda text: None)
    yield recorder
    recorder.close(LONGEST_S)


def test_where_to_look_is_known_of_workflows_that_another_process_told_of(recorder):
    name = examples.workflow().run.workflow_id
    assert recorder.url(name, LONGEST_S) == f"memory:{name}"
    assert recorder.url("nobody", LONGEST_S) is None
