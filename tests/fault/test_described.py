"""A described sweep through the kill of the broker that prepares it, and of the one that has it."""

import os

import httpx
import pytest
from sklearn.datasets import load_iris

from fitcast import Client
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.store import BrokerStore
from tests.brokers import Served, no_broker_variables
from tests.polling import LONGEST_S, wait_for
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)


def test_it_is_prepared_again_by_the_next_one(tmp_path, monkeypatch):
    no_broker_variables(monkeypatch)
    data = tmp_path / "data" / "iris.csv"
    data.parent.mkdir()
    os.mkfifo(data)  # whoever reads it waits
    told = {
        "models": {"lr": {"class": "sklearn.naive_bayes.GaussianNB"}},
        "data": str(data),
        "target": "target",
        "cv": 2,
    }
    home = tmp_path / "home"
    with Served(home, free_port(), BROKER_DATA=data.parent) as broker:
        with BrokerStore(f"sqlite:///{home}/broker/broker.db") as store:
            store.add_user("ann")
            token = store.create_token("ann")[1]
            headers = {"Authorization": f"Bearer {token}"}
            answer = httpx.post(
                f"{broker.url}/v1/sweeps", json=told, headers=headers, timeout=LONGEST_S
            )
            workflow_id = answer.json()["workflow_id"]
            assert wait_for(
                lambda: store.preparation_of(workflow_id).state is State.RUNNING, LONGEST_S
            )
            assert wait_for(lambda: store.preparation_of(workflow_id).running_fits, LONGEST_S)
            broker.kill()
            data.unlink()
            load_iris(as_frame=True).frame.to_csv(data, index=False)
            broker.start()
            assert wait_for(lambda: store.get(workflow_id).state.is_terminal, LONGEST_S)
            assert store.get(workflow_id).state is State.SUCCEEDED, store.get(workflow_id).error
            assert store.preparation_of(workflow_id).fence == 2
        with Client(broker.url, token=token) as client:
            assert len(client.workflow(workflow_id).result().leaderboard) == 1
