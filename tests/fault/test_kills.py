"""SIGKILL of every kind of process, while a sweep runs on it."""

import random
import zlib
from contextlib import suppress

import psutil
import pytest

from fitcast import Sweep
from fitcast.history.records import Outcome
from tests.fault import harm, holding
from tests.fault.estimators import Lingers
from tests.marks import slow
from tests.polling import LONGEST_S

FITS = 2 * holding.SPLITS


def submit(client, **params):
    grid = {"depth": [2, 4], "linger_s": [0.3]} | params
    return client.submit(
        Sweep({"m": (Lingers(), grid)}, holding.X, holding.Y, cv=holding.SPLITS, refit=False)
    )


@pytest.mark.parametrize("kind", ["fork server", *slow("supervisor", "worker")])
def test_what_runs_fits_is_killed_and_every_fit_succeeds_all_the_same(client, kind):
    chance = random.Random(zlib.crc32(kind.encode()))
    workflow = submit(client)
    for _ in range(2):  # three would be poison, if they hit the same fit
        done = workflow.counts()[0]
        assert harm.until(lambda: bool(harm.victims(client)["fit"]))
        harm.strike_surely(client, kind, chance)
        harm.until(lambda done=done: workflow.counts()[0] > done)
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, FITS)
    assert set(workflow.fits["outcome"]) == {"succeeded"}


@pytest.mark.slow
def test_a_killed_fit_is_said_to_be_killed_and_the_others_succeed(client, tmp_path):
    gate = tmp_path / "gate"  # so that none ends just before it is struck
    workflow, rng = submit(client, gate=[str(gate)]), random.Random(1)

    def killed():
        fits = workflow.fits.set_index("fit_id")
        return fits[fits["error"].fillna("").str.contains("SIGKILL")]

    harm.strike_surely(client, "fit", rng)
    assert harm.until(lambda: not killed().empty)
    gate.touch()
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, FITS)
    assert set(killed()["outcome"]) == {"failed"}
    others = workflow.fits[~workflow.fits["fit_id"].isin(killed().index)]
    assert set(others["outcome"]) == {"succeeded"}


@pytest.mark.slow
def test_everything_at_once(client):
    chance = random.Random(2)
    workflow = submit(client, depth=[2, 3, 4])
    for kind in ("fork server", "supervisor", "worker", "fork server"):
        if not harm.until(lambda: bool(harm.victims(client)["fit"]) or workflow.is_over):
            break
        harm.strike(client, kind, chance)
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, 3 * holding.SPLITS)


def test_a_worker_whose_fork_server_can_t_be_started_is_replaced(client):
    workflow = submit(client)
    assert harm.until(lambda: bool(harm.victims(client)["fit"]))
    worker = harm.victims(client)["fork server"][0].parent()

    def is_given_up():
        for server in harm.victims(client)["fork server"]:
            with suppress(psutil.Error):
                if server.ppid() == worker.pid:
                    server.kill()
        return not worker.is_running() or workflow.is_over

    assert harm.until(is_given_up)
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, FITS)
    told = [r.error_message for r in workflow.records if r.error_message]
    assert set(workflow.fits["outcome"]) == {"succeeded"}, told
    assert not worker.is_running()


def test_a_lost_attempt_leaves_a_record_and_a_time_of_its_end(client, tmp_path):
    gate = tmp_path / "gate"  # so that no fit ends just before it is struck
    workflow = submit(client, gate=[str(gate)])
    rng = random.Random(3)

    def lost_attempts():
        return [r for r in workflow.records if r.outcome is Outcome.WORKER_LOST]

    for victim, wanted in (("supervisor", 1), ("worker", 2)):
        assert harm.until(lambda: bool(harm.victims(client)["fit"]))
        harm.strike_surely(client, victim, rng)
        assert harm.until(lambda wanted=wanted: len(lost_attempts()) >= wanted)
    gate.touch()
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, FITS)
    lost = lost_attempts()
    assert all(record.error_message for record in lost)
    assert all(record.started_at <= record.ended_at for record in lost)
    assert client.flush()
    saved = client._platform.engine._store.workflow(workflow.id).records
    assert {r.record_id for r in saved} == {r.record_id for r in workflow.records}
