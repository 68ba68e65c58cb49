# ruff: noqa: T201, PTH115, PTH208 - fits print, and /proc is what they look at
"""What an attempt gives and costs."""

import contextlib
import os
import resource
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import psutil
import pytest
import scipy.sparse as sp
from running import (
    CPU_CLOCK_S,
    FIT_DEADLINE_S,
    Does,
    nothing_below,
    opened,
    small_content,
)
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC

from fitcast.errors import BackendError, SealError
from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.trainer.sealing import new_key, seal
from fitcast.trainer.sweep.datasets import DatasetContent
from tests.polling import wait_for


@pytest.fixture(scope="module")
def small(runner, tmp_path_factory):
    return opened(runner, small_content(), tmp_path_factory.mktemp("small"))


def test_a_fit_gives_what_scikit_learn_gives(small):
    content = small.content
    search = GridSearchCV(LogisticRegression(), {"C": [0.5]}, cv=content.splits)
    search.fit(content.X, content.y)
    for fold in range(5):
        spec = small.spec(LogisticRegression(), params={"C": 0.5}, fold=fold)
        measured = small.runner.run_one(spec)
        assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
        assert measured.scores["score"] == search.cv_results_[f"split{fold}_test_score"][0]
        assert len(measured.predictions) == len(content.splits[fold][1])


def test_cost_is_measured(small):
    class Works(Does):
        def fit(self, X, y):
            block = np.ones(200 * 2**17)  # 200 MiB
            end_s = time.process_time() + 0.3
            while time.process_time() < end_s:
                pass
            return super().fit(X, block[: len(y)] * y)

        def predict(self, X):
            print(time.process_time(), time.time())
            return super().predict(X)

    measured = small.runner.run_one(small.spec(Works()))
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
    # what the process itself says it had used, and at most the time until its end in addition
    used_s, told_s = map(float, measured.stdout.split())
    rest_s = measured.ended_at.timestamp() - told_s
    assert used_s - CPU_CLOCK_S < measured.cpu_s < used_s + rest_s + CPU_CLOCK_S
    assert measured.cpu_s <= measured.runtime_s + CPU_CLOCK_S
    grown = measured.peak_memory_bytes - measured.base_memory_bytes
    assert 200 * 2**20 < grown < 280 * 2**20
    assert measured.fit_time_s >= 0.3
    gap = (measured.ended_at - measured.started_at).total_seconds()
    assert gap == pytest.approx(measured.runtime_s, abs=1e-4)


def test_peak_is_exact_even_if_it_is_short(small):
    def brief():
        block = np.ones(300 * 2**17)
        del block

    measured = small.runner.run_one(small.spec(Does(brief)))
    assert measured.peak_memory_bytes - measured.base_memory_bytes > 300 * 2**20


def test_output_warnings_and_c_output_are_kept(small):
    def talk():
        print("from python")
        print("to stderr", file=sys.stderr)
        import ctypes

        ctypes.CDLL(None).puts(b"from C")
        os.system("echo from a shell")
        warnings.warn("mind the gap", UserWarning, stacklevel=1)

    measured = small.runner.run_one(small.spec(Does(talk)))
    assert "from python" in measured.stdout
    assert "from C" in measured.stdout
    assert "from a shell" in measured.stdout
    assert measured.stderr == "to stderr\n"
    assert measured.warnings == ("UserWarning: mind the gap",)


def test_an_exception_fails_the_fit_with_its_traceback(small):
    def break_it():
        raise ValueError("no such luck")

    measured = small.runner.run_one(small.spec(Does(break_it)))
    assert measured.outcome is Outcome.FAILED
    assert (measured.error_type, measured.error_message) == ("ValueError", "no such luck")
    assert "in break_it" in measured.traceback
    assert measured.runtime_s > 0
    assert measured.peak_memory_bytes > 0


def test_threads_are_what_the_plan_gave(small):
    def threads():
        import joblib
        from threadpoolctl import threadpool_info

        found = sorted({i["num_threads"] for i in threadpool_info()})
        print(os.environ["OMP_NUM_THREADS"], found, joblib.effective_n_jobs(-1))

    for given_threads in (1, 2):
        measured = small.runner.run_one(small.spec(Does(threads), threads=given_threads))
        expected = f"{given_threads} [{given_threads}] {min(given_threads, os.cpu_count())}\n"
        assert measured.stdout == expected, measured.traceback


def test_openmp_regions_work_in_the_fit(small):
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier
    from xgboost import XGBClassifier

    for model in (
        XGBClassifier(n_estimators=5),
        LGBMClassifier(n_estimators=5, verbose=-1),
        HistGradientBoostingClassifier(max_iter=5),
    ):
        named = ("n_jobs",) if "n_jobs" in model.get_params() else ()
        spec = small.spec(model, threads=2, thread_params=named)
        measured = small.runner.run_one(spec)
        assert measured.outcome is Outcome.SUCCEEDED, measured.error_message
        assert measured.scores["score"] > 0.7


def test_refit_sends_the_model_with_the_users_own_threads(small):
    forest = RandomForestClassifier(10, n_jobs=7, random_state=0)
    spec = small.spec(
        forest, fold=REFIT_FOLD, threads=2, thread_params=("n_jobs",), return_model=True
    )
    measured = small.runner.run_one(spec)
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
    assert measured.scores == {}
    assert measured.predictions is None
    model = cloudpickle.loads(measured.model)
    assert model.n_jobs == 7
    expected = RandomForestClassifier(10, random_state=0).fit(small.content.X, small.content.y)
    assert np.array_equal(
        model.predict_proba(small.content.X), expected.predict_proba(small.content.X)
    )


def test_fits_do_not_draw_the_same_random_numbers(small):
    def draw():
        print(np.random.rand())

    drawn = {small.runner.run_one(small.spec(Does(draw))).stdout for _ in range(3)}
    assert len(drawn) == 3


def test_a_missing_predict_method_is_said(small):
    measured = small.runner.run_one(small.spec(Does(), predict_method="predict_proba"))
    assert measured.outcome is Outcome.FAILED
    assert "no method 'predict_proba'" in measured.error_message


def test_precomputed_kernel(runner, tmp_path):
    base = small_content(1200)
    kernel = base.X @ base.X.T  # 11 MB: large enough that its fold would be shared
    content = DatasetContent(X=kernel, y=base.y, columns={}, splits=base.splits)
    data = opened(runner, content, tmp_path)
    measured = runner.run_one(data.spec(SVC(kernel="precomputed"), fold=2))
    search = GridSearchCV(SVC(kernel="precomputed"), {"C": [1.0]}, cv=content.splits)
    search.fit(kernel, content.y)
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
    assert measured.scores["score"] == search.cv_results_["split2_test_score"][0]
    runner.close_dataset(data.sealed.dataset_id)


def frame_content(rows=60_000):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((rows, 18)), columns=[f"n{i}" for i in range(18)])
    frame["carrier"] = rng.choice(["UA", "AA", "DL"], rows)
    frame["gate"] = pd.Categorical(rng.choice(list("abcd"), rows))
    frame.loc[::7, "n3"] = np.nan
    y = pd.Series((frame["n0"] + rng.random(rows) > 1).map({True: "late", False: "on time"}))
    return DatasetContent(X=frame, y=y, columns={}, splits=list(KFold(3).split(frame)))


def frame_model():
    text = make_column_transformer(
        (OneHotEncoder(), ["carrier", "gate"]), remainder=SimpleImputer()
    )
    return make_pipeline(text, LogisticRegression())


def sparse_content():
    base = small_content(20_000, 20)
    X = sp.random(20_000, 400, 0.1, format="csr", random_state=0) + sp.csr_matrix(
        (base.X[:, 0], (np.arange(20_000), np.zeros(20_000, int))), shape=(20_000, 400)
    )
    return DatasetContent(X=X.tocsr(), y=base.y, columns={}, splits=base.splits)


@pytest.mark.parametrize(
    ("content", "model"),
    [(frame_content, frame_model), (sparse_content, LogisticRegression)],
)
def test_shared_rows_of_frames_and_sparse_data(runner, tmp_path, content, model):
    made = content()
    data = opened(runner, made, tmp_path)
    assert data.held_bytes > 8 * 2**20  # large enough to be shared
    measured = runner.run_one(data.spec(model(), fold=1))
    search = GridSearchCV(model(), {}, cv=made.splits).fit(made.X, made.y)
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
    assert measured.scores["score"] == search.cv_results_["split1_test_score"][0]
    assert runner._splits.count() >= 1
    runner.close_dataset(data.sealed.dataset_id)


def test_sample_weights_are_cut_with_the_rows(runner, tmp_path):
    base = small_content(3000, 500)  # shared
    weights = np.linspace(0, 1, 3000)
    content = DatasetContent(
        X=base.X, y=base.y, columns={"sample_weight": weights}, splits=base.splits
    )
    data = opened(runner, content, tmp_path)
    forest = RandomForestClassifier(5, random_state=0)
    spec = data.spec(forest, fold=1, fit_params=(("sample_weight", "sample_weight"),))
    measured = runner.run_one(spec)
    train, test = base.splits[1]
    forest.fit(base.X[train], base.y[train], sample_weight=weights[train])
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
    assert measured.scores["score"] == forest.score(base.X[test], base.y[test])
    runner.close_dataset(data.sealed.dataset_id)


def test_four_fits_of_a_fold_share_one_copy(runner, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.random((200_000, 125))  # 200 MB
    y = (X[:, 0] > 0.5).astype(int)
    rows = np.arange(len(X))
    content = DatasetContent(X=X, y=y, columns={}, splits=[(rows[20_000:], rows[:20_000])])
    data = opened(runner, content, tmp_path)
    assert X.nbytes < data.held_bytes < 1.05 * X.nbytes
    Path(data.sealed.uri).unlink()
    release = tmp_path / "release"

    class ReadsAll(Does):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            self.sum_ = float(X.sum())
            (tmp_path / f"read-{os.getpid()}").touch()
            wait_for(release.exists, FIT_DEADLINE_S)
            return self

    specs = [data.spec(ReadsAll()) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(runner.run_one, spec) for spec in specs]
        all_read = wait_for(lambda: len([*tmp_path.glob("read-*")]) == 4)
        memory = [psutil.Process(p).memory_full_info() for p in runner.pids()["fits"]]
        release.touch()
        done = [run.result() for run in runs]
    assert all_read, done
    assert min(one.rss for one in memory) > 0.85 * X.nbytes
    held, own = sum(one.pss for one in memory), sum(one.uss for one in memory)
    print(f"4 fits on {X.nbytes:,} bytes: PSS {held:,}, private {own:,}")
    assert all(m.outcome is Outcome.SUCCEEDED for m in done), done[0].traceback
    assert X.nbytes * 0.8 < held < 1.6 * X.nbytes
    assert own < 0.5 * X.nbytes
    runner.close_dataset(data.sealed.dataset_id)


def test_a_fit_that_writes_to_its_rows_harms_no_other(runner, tmp_path):
    data = opened(runner, small_content(3000, 500), tmp_path)

    class Vandal(Does):
        def fit(self, X, y):
            X[:] = 0.0
            y[:] = 1
            return super().fit(X, y)

    clean = runner.run_one(data.spec(LogisticRegression(C=0.01)))
    spoiled = runner.run_one(data.spec(Vandal()))
    again = runner.run_one(data.spec(LogisticRegression(C=0.01)))
    assert spoiled.outcome is Outcome.SUCCEEDED, spoiled.traceback
    assert clean.scores == again.scores
    runner.close_dataset(data.sealed.dataset_id)


def test_small_blocks_are_kept_until_their_dataset_is_closed(runner, tmp_path):
    data = opened(runner, small_content(3000, 500), tmp_path)
    for fold in range(5):
        assert runner.run_one(data.spec(Does(), fold=fold)).outcome is Outcome.SUCCEEDED
    assert runner._splits.count() == 5
    runner.close_dataset(data.sealed.dataset_id)
    assert runner._splits.count() == 0


def test_opening_twice_and_from_many_threads(runner, tmp_path):
    key_file = tmp_path / "key"
    key_file.write_bytes(key := new_key())
    sealed = seal(small_content(), str(tmp_path / "d"), key, workflow_id="w")
    with ThreadPoolExecutor(4) as pool:
        held = set(
            pool.map(
                lambda _: runner.open_dataset(sealed.dataset_id, sealed.uri, key_file), range(8)
            )
        )
    assert held == {sealed.plaintext_bytes}
    runner.close_dataset(sealed.dataset_id)
    runner.close_dataset(sealed.dataset_id)


def test_a_damaged_dataset_runs_nothing(runner, tmp_path):
    key_file = tmp_path / "key"
    key_file.write_bytes(key := new_key())
    sealed = seal(small_content(), str(tmp_path / "d"), key, workflow_id="w", segment_bytes=4096)
    data = bytearray(Path(sealed.uri).read_bytes())
    data[-100] ^= 1
    Path(sealed.uri).write_bytes(data)
    with pytest.raises(SealError, match="altered"):
        runner.open_dataset(sealed.dataset_id, sealed.uri, key_file)
    with pytest.raises(BackendError, match="key of the dataset can't be read"):
        runner.open_dataset(sealed.dataset_id, sealed.uri, tmp_path / "nokey")


def test_an_unopened_dataset_is_said(small):
    spec = small.spec(Does())
    other = type(spec)(**{n: getattr(spec, n) for n in spec.__slots__} | {"dataset_id": "unknown"})
    with pytest.raises(BackendError, match="call open_dataset"):
        small.runner.run_one(other)


def test_no_connection_reaches_a_fit(small):
    def look():
        sockets = 0
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                sockets += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        print("sockets", sockets)

    with ThreadPoolExecutor(3) as pool:
        specs = [small.spec(Does(look)) for _ in range(6)]
        for measured in pool.map(small.runner.run_one, specs):
            assert "sockets 0" in measured.stdout, measured


def test_no_descriptor_is_leaked(small):
    def count():
        return len(os.listdir("/proc/self/fd")), psutil.Process(small.runner.server_pid).num_fds()

    small.runner.run_one(small.spec(Does()))
    assert nothing_below(small.runner)
    before = count()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(small.runner.run_one, [small.spec(Does()) for _ in range(20)]))
    assert nothing_below(small.runner)
    assert wait_for(lambda: count() == before), (count(), before)


def test_a_trivial_attempt_finds_all_loaded_and_costs_little(small):
    def loaded():
        print(all(name in sys.modules for name in ("sklearn.ensemble", "pandas", "xgboost")))

    tries = [small.runner.run_one(small.spec(Does(loaded))) for _ in range(10)]
    assert {measured.stdout for measured in tries} == {"True\n"}
    best_s = min(measured.cpu_s for measured in tries)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import sklearn.ensemble"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    python_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"an attempt {best_s * 1e3:.0f} ms of CPU, a Python {python_s * 1e3:.0f} ms")
    assert best_s < python_s / 3
