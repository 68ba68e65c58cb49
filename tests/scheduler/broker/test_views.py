"""What one replica shows of a workflow that another one runs."""

import pytest

from fitcast import Client
from tests.brokers import broker
from tests.gated import FITS, sweep
from tests.polling import wait_for


@pytest.fixture
def replicas(tmp_path):
    """Two brokers on one home and one database, in this process."""
    with broker(tmp_path / "home") as one, broker(tmp_path / "home") as two:
        yield one, two


def test_fits_that_run_are_seen_at_any_replica(replicas, tmp_path):
    one, two = replicas
    token = one.token("ann")
    with Client(one.url, token=token) as client, Client(two.url, token=token) as other:
        workflow = client.submit(sweep(gate=tmp_path / "gate", free=1))
        for there in (client, other):
            assert wait_for(lambda there=there: _running(there, workflow.id) == 2)
        assert _states(client, workflow.id) == _states(other, workflow.id)
        (tmp_path / "gate").touch()
        assert other.workflow(workflow.id).result().leaderboard is not None
        done = list(_states(other, workflow.id).values())
        assert done == ["done"] * (FITS + 1)  # the refit, too
        assert one.store.get(workflow.id).running_fits == []


def _states(client, workflow_id):
    fits = client.workflow(workflow_id).fits
    return dict(zip(fits["fit_id"], fits["state"], strict=True))


def _running(client, workflow_id):
    return list(_states(client, workflow_id).values()).count("running")
