# ruff: noqa: T201, PTH109 - fits print, and look at their folder
"""Several fits in one process: each with its own truth, none harmed by another's end."""

import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from running import Does, nothing_below, wait_for
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from xgboost import XGBClassifier

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.messages import MAX_TEXT_CHARS

MIB = 2**20


@pytest.fixture(autouse=True)
def _nothing_left(runner, data):
    yield
    assert nothing_below(runner)


def run(data, *deeds, **more):
    return data.runner.run([data.spec(Does(deed), **more) for deed in deeds])


def test_fits_of_a_batch_give_what_they_give_alone(data):
    content = data.content
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=content.splits)
    search.fit(content.X, content.y)
    specs = [
        data.spec(LogisticRegression(), params={"C": C}, fold=fold)
        for fold in range(5)
        for C in (0.1, 1.0, 10.0)
    ]
    measured = data.runner.run(specs)
    for fold in range(5):
        for index in range(3):
            one = measured[3 * fold + index]
            assert one.outcome is Outcome.SUCCEEDED, one.traceback
            assert one.scores["score"] == search.cv_results_[f"split{fold}_test_score"][index]
    pids = {one.base_memory_bytes for one in measured}
    assert len(pids) == 1  # one process


def test_each_fit_has_its_own_cost(data):
    def spin():
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass

    def allocate():
        return float(np.ones(150 * 2**17).sum())

    quick, spun, large, last = run(data, None, spin, allocate, None)
    assert 0.2 < spun.cpu_s < 0.4
    assert spun.runtime_s > 0.2
    assert max(quick.cpu_s, last.cpu_s) < 0.2
    assert large.peak_memory_bytes - large.base_memory_bytes > 150 * MIB
    assert last.peak_memory_bytes - last.base_memory_bytes < 60 * MIB
    assert spun.peak_memory_bytes - spun.base_memory_bytes < 60 * MIB
    assert quick.started_at <= quick.ended_at <= spun.started_at <= spun.ended_at
    assert (spun.started_at - quick.ended_at).total_seconds() == pytest.approx(0.0, abs=1e-6)


def test_each_fit_has_its_own_output_and_warnings(data):
    def says(word):
        def say():
            print(word)
            print(word.upper(), file=sys.stderr)
            os.system(f"echo shell {word}")
            warnings.warn(word, UserWarning, stacklevel=1)

        return say

    measured = run(data, says("one"), None, says("three"), says("one"))
    assert [one.stdout for one in measured] == [
        "one\nshell one\n",
        "",
        "three\nshell three\n",
        "one\nshell one\n",
    ]
    assert [one.stderr for one in measured] == ["ONE\n", "", "THREE\n", "ONE\n"]
    assert [len(one.warnings) for one in measured] == [1, 0, 1, 1]


def test_a_chatty_fit_keeps_its_end_and_blocks_nobody(data):
    def chatter():
        for number in range(20_000):
            print(f"line {number} of a very long story")

    chatty, quiet = run(data, chatter, None)
    assert "bytes before this were dropped" in chatty.stdout
    assert chatty.stdout.endswith("line 19999 of a very long story\n")
    assert len(chatty.stdout) < MAX_TEXT_CHARS + 100
    assert quiet.stdout == ""


def test_what_a_fit_changes_is_put_back(data):
    def spoil():
        os.environ["SPOILT"] = "yes"
        os.environ.pop("PATH", None)
        os.chdir("/")
        sys.path.insert(0, "/spoilt")
        warnings.simplefilter("error")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        sys.stdout = None
        np.random.seed(0)
        from threadpoolctl import threadpool_limits

        threadpool_limits(2)

    def look():
        from threadpoolctl import threadpool_info

        warnings.warn("no error", UserWarning, stacklevel=1)
        threads = sorted({one["num_threads"] for one in threadpool_info()})
        print(
            "SPOILT" in os.environ,
            "PATH" in os.environ,
            os.getcwd() == "/",
            "/spoilt" in sys.path,
            signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
            threads,
        )
        print(np.random.random())

    first = run(data, look)[0].stdout.splitlines()
    _, second, third = run(data, spoil, look, look)
    assert second.stdout.splitlines()[0] == first[0], second.traceback
    assert third.outcome is Outcome.SUCCEEDED
    assert second.stdout != third.stdout  # random numbers differ, as in processes of their own


def test_an_exception_fails_its_fit_alone(data):
    def fail():
        raise ValueError("mine")

    before, failed, after = run(data, None, fail, None)
    assert before.outcome is Outcome.SUCCEEDED
    assert (failed.outcome, failed.error_type) == (Outcome.FAILED, "ValueError")
    assert after.outcome is Outcome.SUCCEEDED


def test_a_crash_leaves_the_results_before_it_and_no_blame_after_it(data):
    def crash():
        print("dying", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)

    before, crashed, *after = run(data, lambda: print("well"), crash, None, None)
    assert (before.outcome, before.stdout) == (Outcome.SUCCEEDED, "well\n")
    assert (crashed.outcome, crashed.error_type) == (Outcome.FAILED, "ProcessDied")
    assert crashed.stdout == "dying\n"
    assert after == [None, None]


def test_each_fit_has_its_own_deadline(data):
    nap = lambda: time.sleep(0.4)  # noqa: E731
    measured = run(data, nap, nap, nap, lambda: time.sleep(30), nap, deadline_s=1.0)
    outcomes = [one and one.outcome for one in measured]
    assert outcomes == [Outcome.SUCCEEDED] * 3 + [Outcome.OUT_OF_TIME, None]
    assert 0.9 < measured[3].runtime_s < 2.0


def test_the_fit_over_the_limit_goes_and_those_before_keep_their_results(data):
    def hog():
        kept = []
        while True:
            kept.append(np.ones(8 * 2**17))

    before, over, after = run(data, None, hog, None, memory_limit_bytes=400 * MIB)
    assert before.outcome is Outcome.SUCCEEDED
    assert over.outcome is Outcome.OUT_OF_MEMORY
    assert over.peak_memory_bytes > 400 * MIB
    assert after is None


def test_cancelling_one_ends_all_of_its_process(data):
    specs = [data.spec(Does(lambda: None)), data.spec(Does(lambda: time.sleep(30)))]
    specs.append(data.spec(Does()))
    found = []
    thread = threading.Thread(target=lambda: found.append(data.runner.run(specs)))
    thread.start()
    assert wait_for(lambda: data.runner.pids()["fits"])
    time.sleep(0.3)  # let it get to the second
    assert data.runner.cancel(specs[2].fit_id, 1, "w")
    thread.join(10)
    assert not thread.is_alive()
    assert [one and one.outcome for one in found[0]] == [
        Outcome.SUCCEEDED,
        Outcome.CANCELLED,
        None,
    ]


def test_what_a_fit_leaves_running_harms_no_later_one(data):
    def leave_a_thread():
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()

    def leave_a_process():
        import subprocess

        subprocess.Popen(["sleep", "30"])

    for deed in (leave_a_thread, leave_a_process):
        first, second = run(data, deed, None)
        assert first.outcome is Outcome.SUCCEEDED
        assert second is None  # it gets a process of its own


def test_rows_written_to_by_one_fit_are_whole_for_the_next(data):
    class Vandal(Does):
        def fit(self, X, y):
            X[:] = 0.0
            y[:] = 0
            return super().fit(X, y)

    specs = [data.spec(LogisticRegression()), data.spec(Vandal()), data.spec(LogisticRegression())]
    clean, _, again = data.runner.run(specs)
    assert clean.scores == again.scores


class Counted(PolynomialFeatures):
    """Says when it is fitted and when it transforms."""

    def fit(self, X, y=None):
        print("fit", len(X))
        return super().fit(X, y)

    def transform(self, X):
        print("transform", len(X))
        return super().transform(X)


def chained(data, *last, fold=0, **more):
    return [
        data.spec(
            make_pipeline(StandardScaler(), Counted(3), one),
            fold=fold,
            common_work="polynomials",
            **more,
        )
        for one in last
    ]


def test_steps_in_common_are_fitted_and_applied_once(data):
    models = [LogisticRegression(C=C, max_iter=50) for C in (0.01, 0.1, 1.0)]
    specs = chained(data, *models) + chained(data, *models, fold=1)
    together = data.runner.run(specs)
    alone = [data.runner.run_one(spec) for spec in specs]
    rows, test_rows = 320, 80
    for index, (one, other) in enumerate(zip(together, alone, strict=True)):
        assert one.outcome is Outcome.SUCCEEDED, one.traceback
        assert one.scores == other.scores
        assert np.array_equal(one.predictions, other.predictions)
        if index % 3 == 0:
            assert one.stdout.splitlines() == [
                f"fit {rows}",
                f"transform {rows}",
                f"transform {test_rows}",
            ]
            assert one.shared_s == 0.0
        else:
            assert one.stdout == ""
            assert one.shared_s > 0.0


def test_only_what_is_in_common_is_shared(data):
    model = LogisticRegression(max_iter=50)
    pipelines = [
        make_pipeline(Counted(2), PCA(2), model),
        make_pipeline(Counted(2), PCA(3), model),
        make_pipeline(Counted(3), PCA(3), model),
    ]
    specs = [data.spec(one, common_work="w") for one in pipelines]
    together = data.runner.run(specs)
    assert ["fit" in one.stdout for one in together] == [True, False, True]
    for one, spec in zip(together, specs, strict=True):
        assert one.scores == data.runner.run_one(spec).scores


def boosted(data, *models, prepare=()):
    return [
        data.spec(make_pipeline(*prepare, one) if prepare else one, common_work="bins")
        for one in models
    ]


@pytest.mark.parametrize("prepare", [(), (StandardScaler(),)], ids=["alone", "in a pipeline"])
@pytest.mark.parametrize(
    "models",
    [
        [XGBClassifier(n_estimators=8, max_depth=d, subsample=0.7, random_state=d) for d in (2, 5)],
        [LGBMClassifier(n_estimators=8, num_leaves=n, verbose=-1) for n in (4, 9)],
    ],
    ids=["xgboost", "lightgbm"],
)
def test_rows_are_binned_once(data, models, prepare):
    specs = boosted(data, *models, prepare=prepare)
    together = data.runner.run(specs)
    for one, spec in zip(together, specs, strict=True):
        assert one.outcome is Outcome.SUCCEEDED, one.traceback
        alone = data.runner.run_one(spec)
        assert one.scores == alone.scores
        assert np.array_equal(one.predictions, alone.predictions)
    assert together[0].shared_s == 0.0
    assert together[1].shared_s > 0.0


@pytest.mark.parametrize(
    "models",
    [
        [XGBClassifier(n_estimators=4, max_bin=n) for n in (16, 64)],
        [XGBClassifier(n_estimators=4, tree_method="exact")] * 2,
        [LGBMClassifier(n_estimators=4, min_child_samples=n, verbose=-1) for n in (20, 40)],
        [LGBMClassifier(n_estimators=4, class_weight="balanced", verbose=-1)] * 2,
    ],
    ids=["bins", "no bins", "left-out columns", "weights"],
)
def test_bins_that_differ_are_made_anew(data, models):
    specs = boosted(data, *models)
    together = data.runner.run(specs)
    for one, spec in zip(together, specs, strict=True):
        assert one.outcome is Outcome.SUCCEEDED, one.traceback
        assert one.scores == data.runner.run_one(spec).scores
        assert one.shared_s == 0.0


class InPlace(LogisticRegression):
    """Writes to the rows it is given."""

    def fit(self, X, y):
        X *= 2.0
        return super().fit(X, y)


def test_a_fit_that_writes_to_shared_rows_is_run_again_alone(data):
    specs = chained(data, InPlace(max_iter=50), InPlace(C=0.1, max_iter=50))
    together = data.runner.run(specs)
    for one, spec in zip(together, specs, strict=True):
        assert one.outcome is Outcome.SUCCEEDED, one.traceback
        assert one.scores == data.runner.run_one(spec).scores
