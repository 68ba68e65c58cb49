"""Processes of ours that were stopped: what they watch over is ended all the same."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from running import Does, HeldKey, below, hang, marked, new_mark, opened, own_worker, small_content
from sklearn.linear_model import LogisticRegression

from fitcast.errors import BackendError
from fitcast.history.records import Outcome
from fitcast.trainer.attempt.runner import AttemptRunner
from fitcast.trainer.sealing import new_key, seal
from tests.marks import slow
from tests.polling import LONGEST_S, wait_for

pytestmark = pytest.mark.security
SILENT_AFTER_S = 3.0


@pytest.fixture
def watched(tmp_path):
    """A runner of its own: what is stopped here ends all that it runs."""
    runner = AttemptRunner(silent_after_s=SILENT_AFTER_S)
    yield opened(runner, small_content(), tmp_path)
    runner.close()


def stop(pid):
    os.kill(pid, signal.SIGSTOP)


def gone(processes):
    _, alive = psutil.wait_procs(processes, timeout=LONGEST_S)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def with_a_child(mark):
    def deed():
        subprocess.Popen(["sleep", mark], start_new_session=True)
        hang()

    return deed


def begun(runner, pool, spec, mark):
    """Run a fit that has a child, until that is there."""
    run = pool.submit(runner.run_one, spec)
    assert wait_for(lambda: marked(mark))
    return run


@pytest.mark.parametrize("whose", ["supervisor", "server"])
def test_a_fit_whose_watcher_is_stopped_is_lost_with_all_that_it_began(watched, whose):
    runner, mark = watched.runner, new_mark()
    with ThreadPoolExecutor(1) as pool:
        run = begun(runner, pool, watched.spec(Does(with_a_child(mark))), mark)
        (supervisor,) = runner.pids()["supervisors"]
        left = below(runner)
        stop(supervisor if whose == "supervisor" else runner.server_pid)
        lost = run.result(LONGEST_S)
    assert (lost.outcome, lost.error_type) == (Outcome.WORKER_LOST, "SupervisorSilent")
    assert "no sign of life" in lost.error_message
    assert gone(left)
    assert runner.run_one(watched.spec(LogisticRegression())).outcome is Outcome.SUCCEEDED


@pytest.mark.slow
def test_a_stopped_server_and_its_stopped_supervisor(watched):
    runner, mark = watched.runner, new_mark()
    with ThreadPoolExecutor(1) as pool:
        run = begun(runner, pool, watched.spec(Does(with_a_child(mark))), mark)
        left = [*below(runner), psutil.Process(runner.server_pid)]
        stop(*runner.pids()["supervisors"])
        stop(runner.server_pid)
        assert run.result(LONGEST_S).outcome is Outcome.WORKER_LOST
    assert gone(left)


def test_an_attempt_that_a_stopped_server_has_yet_to_begin_is_run(watched):
    stop(watched.runner.server_pid)
    measured = watched.runner.run_one(watched.spec(LogisticRegression()))
    assert measured.outcome is Outcome.SUCCEEDED


def test_others_of_the_worker_go_on_when_a_supervisor_is_stopped(watched, tmp_path):
    runner, mark = watched.runner, new_mark()
    go_on = tmp_path / "go_on"
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(runner.run_one, watched.spec(Does(lambda: wait_for(go_on.exists))))
        assert wait_for(lambda: runner.pids()["fits"])
        (kept,) = runner.pids()["supervisors"]
        run = begun(runner, pool, watched.spec(Does(with_a_child(mark))), mark)
        (supervisor,) = set(runner.pids()["supervisors"]) - {kept}
        stop(supervisor)
        assert run.result(LONGEST_S).outcome is Outcome.WORKER_LOST
        go_on.touch()
        assert other.result(LONGEST_S).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("whose", ["server", *slow("supervisor", "both")])
def test_cancel_ends_what_a_stopped_process_watches(watched, whose):
    runner, mark = watched.runner, new_mark()
    spec = watched.spec(Does(with_a_child(mark)))
    with ThreadPoolExecutor(1) as pool:
        run = begun(runner, pool, spec, mark)
        left = below(runner)
        if whose != "server":
            stop(*runner.pids()["supervisors"])
        if whose != "supervisor":
            stop(runner.server_pid)
        runner.cancel(spec.fit_id, 1, "w")
        assert run.result(LONGEST_S).outcome is Outcome.CANCELLED
    assert gone(left)


@pytest.mark.parametrize("whose", ["both", *slow("supervisor", "server")])
def test_close_ends_what_was_stopped(tmp_path, whose):
    runner, mark = AttemptRunner(), new_mark()
    data = opened(runner, small_content(), tmp_path)
    with ThreadPoolExecutor(1) as pool:
        run = begun(runner, pool, data.spec(Does(with_a_child(mark))), mark)
        left = [*below(runner), psutil.Process(runner.server_pid)]
        if whose != "server":
            stop(*runner.pids()["supervisors"])
        if whose != "supervisor":
            stop(runner.server_pid)
        runner.close()
        assert run.result(LONGEST_S).outcome is Outcome.CANCELLED
    assert gone(left)


def test_a_stopped_loader_is_ended_and_the_opening_fails(watched, tmp_path):
    runner, key = watched.runner, new_key()
    held = HeldKey(tmp_path / "held", key)
    sealed = seal(small_content(), str(tmp_path / "more.sealed"), key, workflow_id="w")
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(runner.open_dataset, sealed.dataset_id, sealed.uri, held.path)
        held.asked_for()
        (loader,) = runner.pids()["supervisors"]
        stop(loader)
        with pytest.raises(BackendError, match="ended before it was done"):
            opening.result(LONGEST_S)
    assert held.is_given_up()


@pytest.mark.parametrize("stopped", ["both", *slow("supervisor", "server")])
def test_nothing_outlives_a_killed_worker_that_had_stopped_processes(tmp_path, stopped):
    mark = new_mark()
    worker = own_worker(tmp_path, mark, "runner.server_pid, *runner.pids()['supervisors']")
    server, supervisor = (psutil.Process(int(pid)) for pid in worker.stdout.readline().split())
    left = [server, *server.children(recursive=True)]
    if stopped != "server":
        supervisor.suspend()
    if stopped != "supervisor":
        server.suspend()
    worker.kill()
    worker.wait()
    worker.stdout.close()
    assert gone(left)
    assert not marked(mark)


def test_signs_of_life_cost_a_fit_nothing_that_it_could_write_to(watched):
    def look():
        return [line for line in open("/proc/self/maps") if "fitcast-beats" in line]

    def tell():
        print(len(look()))  # noqa: T201

    assert watched.runner.run_one(watched.spec(Does(tell))).stdout == "0\n"
