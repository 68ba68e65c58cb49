"""The background process: started once, killed, ended, idle; workflows come through all of it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.model_selection import StratifiedKFold, cross_val_score

from fitcast import Client, LocalBackend, Pool, Workflow, errors
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.kept.workflow_folder import WorkflowFolder
from fitcast.scheduler.session.background.calls import Calls, UnreachableError
from fitcast.scheduler.session.background.place import BackgroundPlace
from fitcast.scheduler.session.background.starting import hand_over, started
from fitcast.scheduler.session.following import Following
from fitcast.settings import Settings
from tests.background import background_pid, below, ended, ended_after, is_nothing_left, lives
from tests.gated import DEPTHS, FITS, FOLDS, Gated, X, Y, sweep
from tests.polling import LONGEST_S, wait_for

MIB = 2**20
POOL = Pool("two", cpus=1, memory_bytes=500 * MIB, workers=2)


@pytest.fixture
def home(fitcast_home):
    with ended_after(fitcast_home):
        yield fitcast_home


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def detached(gate: Path) -> Workflow:
    """Return a workflow of the background process with a fit that is done and others that wait."""
    with Client(start_workers=False) as client:
        workflow = client.submit(sweep(gate, free=1), detach=True)
    assert wait_for(lambda: workflow.counts()[0] >= 1)
    return workflow


def check_undisturbed(workflow: Workflow) -> None:
    """Check that it came to what scikit-learn says, with a result for each fit."""
    result = workflow.result(timeout_s=LONGEST_S)
    for index, depth in enumerate(DEPTHS):
        theirs = cross_val_score(Gated(depth=depth), X, Y, cv=StratifiedKFold(FOLDS))
        ours = [result.cv_results_[f"split{fold}_test_score"][index] for fold in range(FOLDS)]
        np.testing.assert_array_equal(ours, theirs)
    done = [record for record in workflow.records if record.outcome == "succeeded"]
    assert len({(record.candidate_index, record.fold) for record in done}) == len(done) == FITS + 1


def killed(home: Path) -> None:
    pid = background_pid(home)
    family = below(pid)
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not any(map(lives, family)))


@pytest.mark.slow
def test_a_kill_leaves_a_workflow_that_can_be_gone_on_with(home, gate):
    workflow = detached(gate)
    done_before = {record.record_id for record in workflow.records}
    killed(home)
    with pytest.raises(errors.WorkflowInterruptedError, match="fitcast resume"):
        workflow.result(timeout_s=LONGEST_S)
    assert workflow.state == "interrupted"
    assert workflow.counts()[1] == 0
    assert (home / "background" / "socket").exists()  # nobody listens on it
    gate.touch()
    hand_over(workflow.id, Settings())
    again = Following(home).workflow(workflow.id)
    check_undisturbed(again)
    assert done_before <= {record.record_id for record in again.records}


@pytest.mark.slow
def test_sigterm_interrupts_in_order_and_leaves_nothing(home, gate):
    workflow = detached(gate)
    ended(home)
    assert workflow.wait(LONGEST_S).state == "interrupted"
    end = WorkflowFolder(home / "workflows", workflow.id).end()
    assert end.state == "interrupted"
    assert end.can_resume
    gate.touch()
    with Client(LocalBackend([POOL]), history=MemoryHistory()) as client:
        check_undisturbed(client.resume(workflow.id))


def test_a_workflow_is_handed_over_while_it_runs_and_its_handle_follows(home, gate):
    with Client(LocalBackend([POOL])) as client:
        workflow = client.submit(sweep(gate, free=1))
        assert wait_for(lambda: workflow.counts()[0] == FOLDS)
        done_before = {record.record_id for record in workflow.records}
        assert workflow.detach() is workflow
        assert workflow.state in ("preparing", "queued", "running")
        assert workflow.counts()[0] == FOLDS
        assert workflow.detach().id == client.workflow(workflow.id).id  # it is there already
    assert background_pid(home) is not None
    gate.touch()
    check_undisturbed(workflow)
    assert done_before <= {record.record_id for record in workflow.records}


@pytest.mark.slow
def test_what_was_gone_on_with_is_handed_over_too(home, gate):
    with Client(LocalBackend([POOL])) as client:
        workflow = client.submit(sweep(gate, free=1))
        assert wait_for(lambda: workflow.counts()[0] == FOLDS)
    with Client(LocalBackend([POOL])) as client:
        again = client.resume(workflow.id)
        assert wait_for(lambda: again.state == "running")
        again.detach()
    gate.touch()
    check_undisturbed(again)


def test_what_another_process_cannot_have_is_not_detached(home, gate):
    with Client(LocalBackend([POOL]), history=MemoryHistory()) as client:
        workflow = client.submit(sweep(gate))
        with pytest.raises(errors.InvalidInputError, match="history of its own"):
            workflow.detach()
        assert not workflow.is_over
        gate.touch()
        assert workflow.wait(LONGEST_S).state == "succeeded"
    assert background_pid(home) is None


FOREGROUND = """
import sys
from pathlib import Path
from fitcast import Client, LocalBackend, Pool
from fitcast.history.store import MemoryHistory
from tests.gated import sweep

if __name__ == "__main__":
    pool = Pool("two", cpus=1, memory_bytes=500 * 2**20, workers=2)
    with Client(LocalBackend([pool]), history=MemoryHistory()) as client:
        workflow = client.submit(sweep(sys.argv[1], free=1))
        print(workflow.id, flush=True)
        workflow.wait()
"""


@pytest.mark.slow
def test_a_client_that_is_killed_leaves_its_workflow_interrupted(home, gate, tmp_path):
    script = tmp_path / "foreground.py"
    script.write_text(FOREGROUND)
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, str(script), str(gate)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    ) as process:
        workflow = Following(home).workflow(process.stdout.readline().strip())
        assert wait_for(lambda: workflow.counts()[0] >= 1)
        assert workflow.state == "running"
        with pytest.raises(errors.WorkflowHeldError):
            hand_over(workflow.id, Settings())
        process.kill()
    assert workflow.wait(LONGEST_S).state == "interrupted"
    gate.touch()
    hand_over(workflow.id, Settings())
    check_undisturbed(Following(home).workflow(workflow.id))


START = """
from fitcast.scheduler.session.background.starting import started
from fitcast.settings import Settings
print(started(Settings()).health()["pid"])
"""


@pytest.mark.slow
def test_of_several_that_are_started_at_once_all_use_one(home):
    starting = [
        subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = {one.communicate(timeout=LONGEST_S)[0].strip() for one in starting}
    assert told == {str(background_pid(home))}


@pytest.mark.slow
def test_it_leaves_whoever_starts_it(home):
    started(Settings())
    process = psutil.Process(background_pid(home))
    assert process.pid not in {one.pid for one in psutil.Process().children(recursive=True)}
    assert os.getsid(process.pid) != os.getsid(0)
    assert process.terminal() is None
    links = [str(Path(f"/proc/{process.pid}/fd/{fd}").readlink()) for fd in (0, 1, 2)]
    log = str(home / "background" / "log")
    assert links == ["/dev/null", log, log]
    for name in ("lock", "log", "socket"):
        assert (home / "background" / name).stat().st_mode & 0o777 == 0o600
    assert (home / "background").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_it_ends_once_it_is_idle_and_leaves_nothing(home, monkeypatch):
    monkeypatch.setenv("FITCAST_BACKGROUND_IDLE_S", "1")
    with Client(start_workers=False) as client:
        workflow = client.submit(sweep(), detach=True)
    pid = background_pid(home)
    family = below(pid)
    check_undisturbed(workflow)
    assert wait_for(lambda: is_nothing_left(home, pid, family))
    assert not (home / "background" / "socket").exists()
    assert workflow.state == "succeeded"
    check_undisturbed(Following(home).workflow(workflow.id))  # as it is kept
    assert "ends" in (home / "background" / "log").read_text()


@pytest.mark.slow
def test_a_socket_that_was_left_is_replaced(home):
    place = BackgroundPlace(Settings().ensure_home())
    place.make()
    with socket.socket(socket.AF_UNIX) as left, place._folder() as folder:
        left.bind(f"/proc/self/fd/{folder}/socket")
    with pytest.raises(UnreachableError):
        Calls(home).health()
    assert started(Settings()).health()["running"] == 0


@pytest.mark.slow
def test_a_home_longer_than_a_sockets_path_may_be(tmp_path, monkeypatch):
    home = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 6, "home")
    home.parent.mkdir(parents=True)
    monkeypatch.setenv("FITCAST_HOME", str(home))
    assert len(str(home)) > 108
    with ended_after(home):
        assert started(Settings()).health()["pid"] == background_pid(home)


@pytest.mark.slow
def test_other_settings_are_refused_by_name(home, tmp_path, monkeypatch):
    calls = started(Settings())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    monkeypatch.setenv("FITCAST_CPUS", "1")
    others = pytest.raises(errors.BackgroundError, match=r"other settings \(tracking_uri, cpus\)")
    with Client(start_workers=False) as client, others:
        client.submit(sweep(), detach=True)
    assert not list((home / "workflows").glob("*"))
    assert calls.health()["running"] == 0


def test_requests_that_mean_nothing_are_refused(home):
    calls = started(Settings())
    with pytest.raises(errors.UnknownWorkflowError):
        calls.resume("20260101-000000-00000000")
    for name in ("../../etc", "..", "a/b", "x" * 200, "%2e%2e"):
        with pytest.raises(errors.FitcastError):
            calls.resume(name)
        with pytest.raises(errors.FitcastError):
            calls.workflow(name)
    for path in ("/", "/v1", "/v1/workflows/x/fits/y", "/docs"):
        with pytest.raises(errors.FitcastError):
            calls._asked("GET", path)
    with pytest.raises(errors.InvalidInputError):
        calls._asked("GET", "/v1/workflows/x", {"wait_s": "for ever"})
    assert calls.health()["running"] == 0


NOBODY = 65534
ATTACK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    try:
        s.connect(sys.argv[1])
        s.sendall(b"GET /v1/health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        print(len(s.recv(1000)))
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")
@pytest.mark.security
def test_another_user_gets_no_answer_even_if_the_folders_are_open(monkeypatch, tmp_path):
    import shutil
    import tempfile

    above = Path(tempfile.mkdtemp(prefix="fitcast-test-"))
    above.chmod(0o755)
    home = above / "home"
    monkeypatch.setenv("FITCAST_HOME", str(home))
    try:
        with ended_after(home):
            calls = started(Settings())
            path = home / "background" / "socket"

            def attacked() -> str:
                python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
                return subprocess.run(
                    [python, "-c", ATTACK, str(path)],
                    user=NOBODY,
                    group=NOBODY,
                    extra_groups=[],
                    cwd="/",
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.strip()

            assert attacked() == "PermissionError"
            for opened, mode in ((home, 0o755), (path.parent, 0o755), (path, 0o666)):
                opened.chmod(mode)
            assert attacked() in ("0", "ConnectionResetError", "BrokenPipeError")
            assert calls.health()["running"] == 0
            home.chmod(0o700)
    finally:
        shutil.rmtree(above)
