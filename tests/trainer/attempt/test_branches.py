"""Libraries that the fork server hasn't are imported once for many fits, where that is safe."""

import importlib
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest
from running import Does, marked, new_mark, opened, small_content

from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.trainer.attempt.runner import AttemptRunner
from fitcast.trainer.imports import imported_since, named_in
from tests.polling import wait_for

LIBRARY = """
    import os, time
    from sklearn.dummy import DummyClassifier

    IMPORTED_BY = os.getpid()
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass

    class Heavy(DummyClassifier):
        def fit(self, X, y):
            self.imported_here_ = float(IMPORTED_BY == os.getpid())
            return super().fit(X, y)

    def here(model, X, y):
        return model.imported_here_
"""


@pytest.fixture
def watched(tmp_path):
    runner = AttemptRunner()
    yield opened(runner, small_content(), tmp_path)
    runner.close()


@pytest.fixture
def library(tmp_path, monkeypatch, request):
    """Make a module importable that takes long to import; return its name."""

    def make(name, *, elsewhere="", folder="site-packages"):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        (place / f"{name}.py").write_text(textwrap.dedent(LIBRARY))
        monkeypatch.syspath_prepend(str(place))
        request.addfinalizer(lambda: sys.modules.pop(name, None))
        module = importlib.import_module(name)
        with (place / f"{name}.py").open("a") as file:
            file.write(f"{elsewhere}\n")  # what it does in other processes than this one
        return module

    return make


def specs(data, module, count=2):
    return [data.spec(module.Heavy(), scoring=module.here) for _ in range(count)]


def imported_here(data, wanted):
    measured = [data.runner.run_one(one) for one in wanted]
    for one in measured:
        assert one.outcome is Outcome.SUCCEEDED, one.traceback
    return [one.scores["score"] for one in measured], measured


def test_an_installed_library_is_imported_once(watched, library):
    heavy = library("fitcast_test_heavy")
    here, measured = imported_here(watched, specs(watched, heavy, 3))
    assert here == [0.0, 0.0, 0.0]
    for one in measured:
        assert one.cpu_s < 0.3  # what importing it takes at least
        assert one.fit_time_s < 0.3


def test_what_a_fit_imports_itself_is_imported_ahead_for_the_next(watched, library):
    library("fitcast_test_lazy")

    def imports():
        from importlib import import_module
        from os import getpid

        return getpid() == import_module("_".join(["fitcast", "test", "lazy"])).IMPORTED_BY

    def told(model, X, y):
        return float(model.given_)

    wanted = [watched.spec(Does(imports), scoring=told) for _ in range(3)]
    here, measured = imported_here(watched, wanted)
    assert here == [1.0, 0.0, 0.0]
    assert measured[0].fit_time_s >= 0.3
    assert max(one.fit_time_s for one in measured[1:]) < 0.3
    # and not for fits on other data, of which nothing is known
    other = opened(watched.runner, small_content(), watched.key_file.parent)
    assert imported_here(other, [other.spec(Does(imports), scoring=told)])[0] == [1.0]


def test_what_fits_of_a_kind_import_is_known_to_the_next_sweep(watched, library):
    heavy = library("fitcast_test_heavy_first")
    library("fitcast_test_lazy_then")

    def told(model, X, y):
        from importlib import import_module
        from os import getpid

        lazy = import_module("_".join(["fitcast", "test", "lazy", "then"]))
        return float(getpid() == lazy.IMPORTED_BY)

    first = [watched.spec(heavy.Heavy(), scoring=told) for _ in range(2)]
    assert imported_here(watched, first)[0] == [1.0, 0.0]
    watched.runner.close_dataset(watched.sealed.dataset_id)
    other = opened(watched.runner, small_content(), watched.key_file.parent)
    assert imported_here(other, [other.spec(heavy.Heavy(), scoring=told)])[0] == [0.0]


def test_what_a_job_s_code_imports_is_imported_ahead(watched, library):
    library("fitcast_test_named")

    def imports():
        from os import getpid

        import fitcast_test_named

        return getpid() == fitcast_test_named.IMPORTED_BY

    spec = watched.spec(Does(imports), scoring=lambda model, X, y: float(model.given_))
    assert imported_here(watched, [spec])[0] == [0.0]


def test_many_wait_for_one_import(watched, library):
    heavy = library("fitcast_test_awaited")
    with ThreadPoolExecutor(4) as pool:
        measured = list(pool.map(watched.runner.run_one, specs(watched, heavy, 8)))
    assert [one.scores for one in measured] == [{"score": 0.0}] * 8
    assert len(watched.runner._server.branch_pids()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "HELD = open(__file__)",
        "import socket; HELD = socket.socketpair()",
        "import subprocess; HELD = subprocess.Popen(['sleep', '60'])",
    ],
    ids=["thread", "file", "socket", "process"],
)
def test_what_cannot_be_forked_is_imported_by_each_process(watched, library, text):
    heavy = library("fitcast_test_unsafe", elsewhere=text)
    assert imported_here(watched, specs(watched, heavy))[0] == [1.0, 1.0]
    assert watched.runner._server.branch_pids() == []


@pytest.mark.parametrize(
    "text", ["raise RuntimeError('no')", "os._exit(3)"], ids=["raises", "ends"]
)
def test_a_library_that_fails_to_import_harms_nothing_else(watched, library, text):
    heavy = library("fitcast_test_failing", elsewhere=text)
    server = watched.runner.server_pid
    for one in specs(watched, heavy):
        assert watched.runner.run_one(one).outcome is Outcome.FAILED
    assert imported_here(watched, [watched.spec(Does())])
    assert watched.runner.server_pid == server


def test_a_user_s_own_module_is_imported_by_fits_only(watched, library):
    mine = library("fitcast_test_mine", folder="project")
    assert named_in(watched.spec(mine.Heavy()).job.estimator) == ()
    assert imported_since(set(sys.modules) - {"fitcast_test_mine"}) == ()

    def imports():
        import fitcast_test_mine

        return fitcast_test_mine.IMPORTED_BY

    for one in [watched.spec(Does(imports)) for _ in range(2)]:
        assert watched.runner.run_one(one).outcome is Outcome.SUCCEEDED
    assert watched.runner._server.branch_pids() == []


def test_a_branch_that_is_killed_is_grown_again(watched, library):
    heavy = library("fitcast_test_killed")
    assert imported_here(watched, specs(watched, heavy))[0] == [0.0, 0.0]
    (branch,) = watched.runner._server.branch_pids()
    psutil.Process(branch).kill()
    assert wait_for(lambda: watched.runner._server.branch_pids() == [])
    assert imported_here(watched, specs(watched, heavy))[0] == [0.0, 0.0]


@pytest.mark.slow
def test_a_branch_that_is_stopped_is_ended_with_its_fits(tmp_path, library):
    heavy = library("fitcast_test_stopped")
    runner = AttemptRunner(silent_after_s=3.0)
    try:
        data = opened(runner, small_content(), tmp_path)
        assert imported_here(data, specs(data, heavy))[0] == [0.0, 0.0]
        (branch,) = runner._server.branch_pids()
        psutil.Process(branch).suspend()
        assert imported_here(data, specs(data, heavy))[0] == [0.0, 0.0]
        assert not psutil.pid_exists(branch)
    finally:
        runner.close()


def test_branches_end_with_their_datasets_but_for_one(watched, library, tmp_path):
    one, two = library("fitcast_test_one"), library("fitcast_test_two")
    for number, module in enumerate((one, two, two)):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = opened(watched.runner, small_content(), folder)
        assert imported_here(data, specs(data, module))[0] == [0.0, 0.0]
        watched.runner.close_dataset(data.sealed.dataset_id)
    assert wait_for(lambda: len(watched.runner._server.branch_pids()) == 1)


def test_a_fit_of_a_branch_is_cancelled_and_leaves_nothing(watched, library):
    heavy = library("fitcast_test_cancelled")
    mark = new_mark()

    def hangs():
        import subprocess
        import threading as t

        subprocess.Popen(["sleep", mark], start_new_session=True)
        t.Event().wait()

    assert imported_here(watched, specs(watched, heavy, 1))[0] == [0.0]
    model = Does(hangs)
    model.of = heavy.Heavy  # its pickle names the library
    spec = watched.spec(model)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(watched.runner.run_one, spec)
        assert wait_for(lambda: marked(mark))
        assert watched.runner.cancel(spec.fit_id, spec.attempt, spec.workflow_id)
        assert run.result().outcome is Outcome.CANCELLED
    assert wait_for(lambda: not marked(mark))
    assert watched.runner.pids()["fits"] == []


def test_a_refit_comes_back_from_a_branch(watched, library):
    heavy = library("fitcast_test_refit")
    spec = watched.spec(heavy.Heavy(), fold=REFIT_FOLD, return_model=True)
    measured = watched.runner.run_one(spec)
    assert measured.outcome is Outcome.SUCCEEDED
    assert measured.model is not None


# A thread of the library's own, as TensorFlow's and others' are: Python knows nothing of it.
NATIVE_THREAD = """
import ctypes
_libc, _thread = ctypes.CDLL(None), ctypes.c_ulong()
assert _libc.pthread_create(ctypes.byref(_thread), None, _libc.pause, None) == 0
"""


def imported_by(model, X, y):
    """Score by the process that imported the library."""
    import sys as s

    return float(s.modules[type(model).__module__].IMPORTED_BY)


def test_what_cannot_be_forked_is_imported_once_by_a_process_of_several(watched, library):
    heavy = library("fitcast_test_kept", elsewhere=NATIVE_THREAD)
    wanted = [watched.spec(heavy.Heavy(), scoring=imported_by) for _ in range(4)]
    measured = watched.runner.run(wanted)
    assert [one.outcome for one in measured] == [Outcome.SUCCEEDED] * 4, measured[0].traceback
    assert len({one.scores["score"] for one in measured}) == 1
    assert measured[0].loading_s >= 0.3
    assert [one.loading_s for one in measured[1:]] == [0.0] * 3
    assert max(one.cpu_s for one in measured[1:]) < 0.3
    assert watched.runner._server.branch_pids() == []


def test_imports_in_a_fit_that_cannot_be_forked_are_told_once_they_were_tried(watched, library):
    library("fitcast_test_kept_lazy", elsewhere=NATIVE_THREAD)

    def imports():
        from importlib import import_module

        import_module("_".join(["fitcast", "test", "kept", "lazy"]))

    measured = [watched.runner.run_one(watched.spec(Does(imports))) for _ in range(3)]
    assert [one.outcome for one in measured] == [Outcome.SUCCEEDED] * 3
    assert measured[0].loading_s < 0.3
    assert min(one.loading_s for one in measured[1:]) >= 0.3


def test_few_further_imports_are_no_reason_to_import_all_anew(watched, library):
    heavy = library("fitcast_test_main")
    light = library("fitcast_test_light")
    quick = "from sklearn.dummy import DummyClassifier\n"
    light_file = watched.key_file.parent / "site-packages" / "fitcast_test_light.py"
    light_file.write_text(quick)
    assert light.__file__ == str(light_file)

    def both(model, X, y):
        from importlib import import_module

        import_module("_".join(["fitcast", "test", "light"]))
        return imported_by(model, X, y)

    wanted = [watched.spec(heavy.Heavy(), scoring=both) for _ in range(3)]
    measured = [watched.runner.run_one(one) for one in wanted]
    assert [one.outcome for one in measured] == [Outcome.SUCCEEDED] * 3, measured[0].traceback
    assert len({one.scores["score"] for one in measured}) == 1
    assert max(one.cpu_s for one in measured) < 0.3
    assert len(watched.runner._server.branch_pids()) == 1


def test_what_fits_import_on_top_and_cannot_be_forked_is_left_to_them(watched, library):
    heavy = library("fitcast_test_base")
    library("fitcast_test_top", elsewhere=NATIVE_THREAD)

    def both(model, X, y):
        from importlib import import_module

        import_module("_".join(["fitcast", "test", "top"]))
        return imported_by(model, X, y)

    wanted = [watched.spec(heavy.Heavy(), scoring=both) for _ in range(3)]
    measured = [watched.runner.run_one(one) for one in wanted]
    assert [one.outcome for one in measured] == [Outcome.SUCCEEDED] * 3, measured[0].traceback
    assert len({one.scores["score"] for one in measured}) == 1  # what could be forked still is
    assert measured[-1].loading_s >= 0.3


def test_a_process_that_grows_with_its_fits_takes_no_more_of_them(watched, library):
    heavy = library("fitcast_test_grows", elsewhere=NATIVE_THREAD + "\nLEFT = []\n")

    def leaves():
        import sys as s

        s.modules["fitcast_test_grows"].LEFT.append(b"x" * (200 * 2**20))

    def wanted(deed):
        model = Does(deed)
        model.of = heavy.Heavy  # its pickle names the library
        return watched.spec(model, share_bytes=2**20)

    measured = watched.runner.run([wanted(leaves) for _ in range(4)])
    assert [one and one.outcome for one in measured] == [Outcome.SUCCEEDED] * 2 + [None] * 2
    measured = watched.runner.run([wanted(None) for _ in range(4)])
    assert [one and one.outcome for one in measured] == [Outcome.SUCCEEDED] * 4


def test_late_fits_stay_where_a_process_of_their_own_would_import_all_anew(watched, library):
    heavy = library("fitcast_test_late", elsewhere=NATIVE_THREAD)
    stay, go = specs(watched, heavy, 3), [watched.spec(Does()) for _ in range(3)]
    for given, turns in ((stay, 3), (go, 1)):
        late = [given[0], *(replace(one, begin_within_s=-1e9) for one in given[1:])]
        measured = watched.runner.run(late)
        assert sum(one is not None for one in measured) == turns
