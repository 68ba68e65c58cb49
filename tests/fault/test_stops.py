"""What neither works nor ends (SIGSTOP), and nannies that are gone."""

import random
import signal

import psutil
import pytest

from fitcast import Sweep
from tests.fault import harm, holding
from tests.fault.estimators import Lingers
from tests.fault.test_kills import FITS, submit
from tests.polling import LONGEST_S


@pytest.mark.slow
def test_a_stopped_worker_is_ended_and_its_fits_run_elsewhere(client):
    workflow = submit(client)
    assert harm.until(lambda: bool(harm.victims(client)["fit"]))
    stopped = harm.strike_surely(client, "worker", random.Random(5), sign=signal.SIGSTOP)
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, FITS)
    assert set(workflow.fits["outcome"]) == {"succeeded"}
    assert harm.until(lambda: not stopped.is_running())
    assert harm.until(lambda: len(harm.victims(client)["worker"]) == 2)


@pytest.mark.slow
def test_a_worker_that_stops_and_goes_on_in_time_is_left_alone(client):
    workflow = submit(client)
    assert harm.until(lambda: bool(harm.victims(client)["fit"]))
    with harm.patient(client):
        stopped = harm.strike_surely(client, "worker", random.Random(6), sign=signal.SIGSTOP)
        assert harm.until(lambda: harm.longest_silence_s(client) > 1.0)  # two looks in vain
        stopped.send_signal(signal.SIGCONT)
        assert harm.until(lambda: harm.longest_silence_s(client) < 1.0)
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, FITS)
    assert set(workflow.fits["attempts"]) == {1}
    assert stopped.is_running()


@pytest.mark.slow
def test_cancelling_doesn_t_wait_for_a_stopped_worker(client):
    workflow = submit(client, linger_s=[600.0])
    assert harm.until(lambda: len(harm.victims(client)["fit"]) == 2)
    with harm.patient(client):
        stopped = harm.strike_surely(client, "worker", random.Random(7), sign=signal.SIGSTOP)
        workflow.cancel()
        workflow.wait(LONGEST_S)
        assert stopped.status() == psutil.STATUS_STOPPED  # it neither ended nor was ended before
    assert harm.until(lambda: not stopped.is_running())
    assert harm.until(lambda: not harm.victims(client)["fit"])


def test_a_stopped_fit_comes_to_its_deadline_and_the_others_succeed(client):
    sweep = Sweep(
        {"m": (Lingers(), {"linger_s": [0.2], "deed": ["", "stop"]})},
        holding.X,
        holding.Y,
        cv=2,
        refit=False,
        deadline_s=8.0,  # which the others don't come to
    )
    workflow = client.submit(sweep)
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, 4)
    assert list(workflow.fits["outcome"]) == ["succeeded"] * 2 + ["out_of_time"] * 2
    below = psutil.Process().children(recursive=True)
    assert not [p for p in below if p.is_running() and p.status() == psutil.STATUS_STOPPED]


@pytest.mark.slow
def test_a_nanny_that_is_gone_is_replaced(client):
    workflow = submit(client)
    assert harm.until(lambda: bool(harm.victims(client)["fit"]))
    cluster = client._platform.engine._backend._cluster
    name, nanny = next(iter(cluster.workers.items()))
    cluster.sync(nanny.close)
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, FITS)
    assert set(workflow.fits["outcome"]) == {"succeeded"}
    assert harm.until(lambda: cluster.workers.get(name) not in (None, nanny))
    assert harm.until(lambda: len(client._platform.engine._shared.decisions.workers) == 2)
